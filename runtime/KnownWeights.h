// The weights of a function as they were before they were rounded to fp16 (private: includes
// torch). A package holds the rounded ones only; the model holds the others.
#pragma once

#include "runtime/Tensors.h"

#include "mil/IR.h"

#include "llvm/ADT/DenseMap.h"

namespace plait::runtime {

struct UnroundedWeight {
  at::Tensor known; ///< the model's, of the constant's shape; in place where it lies in a file
  /// A norm that was folded into a weight multiplies its rows, by factors that are known from the
  /// rounded products alone; undefined where the weight is the model's as it is.
  at::Tensor factors;
  double rowError = 0;    ///< how far each of them may be off, relative to it
  mil::TensorData source; ///< what `known` is of; null of zeros that are no tensor of the model

  /// In fp32, with the factors times `moved` where that is defined.
  at::Tensor tensor(const at::Tensor &moved = {}) const;
};
/// One behind the other along the first axis; nearly all weights are one.
using UnroundedParts = llvm::SmallVector<UnroundedWeight, 1>;
using UnroundedWeights = llvm::DenseMap<const mil::Value *, UnroundedParts>;

/// The fp16 constants of `function` that are a tensor of `known`, rounded: as it is, with axes
/// exchanged, or a part of its first axis, and each row times a factor; or several of these joined
/// along the first axis, with rows of zeros where a layer had no bias. None is further from its
/// constant than rounding takes it, so that a wrong weight stays wrong.
Expected<UnroundedWeights> unroundedWeights(const mil::Function &function,
                                            llvm::ArrayRef<mil::TensorData> known);

/// Half a unit in the last place of fp16 at a number of its range.
float halfUnit(float value);

} // namespace plait::runtime
