// Looking at small tensors of an adapter or a base: as text, as numbers, whether two are equal.
// None of them needs an evaluator: they are views of files, casts of these, or owned bytes.
#pragma once

#include "mil/TensorData.h"

namespace plait::adapters {

using mil::TensorData;
using Sizes = llvm::SmallVector<int64_t, 5>;

/// "[4, 32]"; "any" for a size below zero.
std::string shapeText(llvm::ArrayRef<int64_t> shape);

/// All elements as fp32, row-major.
std::vector<float> floatsOf(const TensorData &tensor);
/// A weight of its own that holds `values` as fp32.
TensorData ofFloats(llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<float> values);
/// The only element; `tensor` has one.
double numberOf(const TensorData &tensor);

/// Equal types, shapes and bytes; tile by tile.
bool areEqual(const TensorData &one, const TensorData &other);
bool isZero(const TensorData &tensor);
/// The Euclidean norm of each of the rows that the first axis has.
std::vector<float> rowNorms(const TensorData &tensor);

} // namespace plait::adapters
