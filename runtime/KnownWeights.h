// The weights of a function as they were before they were rounded to fp16 (private: includes
// torch). A package holds the rounded ones only; the model holds the others.
#pragma once

#include "runtime/Tensors.h"

#include "mil/IR.h"

#include "llvm/ADT/DenseMap.h"

namespace plait::runtime {

struct UnroundedWeight {
  at::Tensor tensor;
  /// How far each row's factor may be off, relative to it: a norm that was folded into a weight
  /// multiplies its rows, and the factors are known from the rounded products alone. 0 where the
  /// weight is the model's as it is.
  double rowError = 0;
};
using UnroundedWeights = llvm::DenseMap<const mil::Value *, UnroundedWeight>;

/// The fp16 constants of `function` that are a tensor of `known`, rounded: as it is, with axes
/// exchanged, or a part of its first axis, and each row times a factor. None is further from its
/// constant than rounding takes it, so that a wrong weight stays wrong.
Expected<UnroundedWeights> unroundedWeights(const mil::Function &function,
                                            llvm::ArrayRef<mil::TensorData> known);

/// Half a unit in the last place of fp16 at a number of its range.
float halfUnit(float value);

} // namespace plait::runtime
