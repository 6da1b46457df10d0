// Computed constants that are read tile by tile, as every other lazy transform is: elementwise
// arithmetic, products with a small factor, bands of diagonals, concatenations, and sums along
// axes, which are streamed once. TensorReader.cpp hands them over. Only an Evaluator computes other
// operations, and it computes them whole.
#pragma once

#include "mil/Attr.h"

namespace plait::mil {

// ---- TensorReader.cpp --------------------------------------------------------------------------

/// Elements [begin, begin + count) of a tree without anything that only an evaluator computes;
/// returns how many finite ones became infinite in fp16.
size_t readNode(const TensorData::Node &node, int64_t begin, int64_t count, uint8_t *out);
/// The same as fp32.
size_t readFloats(const TensorData &tensor, int64_t begin, int64_t count, float *out);

// ---- ComputedReader.cpp ------------------------------------------------------------------------

/// sum[i] += factor * row[i], each rounded once.
void addScaled(float *sum, const float *row, float factor, int64_t count);

/// A streamable tree in memory, row-major and aligned; itself where it is so already.
TensorData held(const TensorData &tensor);

/// The result of a computed constant on operands that are streamable trees themselves: a tree that
/// reads tile by tile, or a vector that was summed up in passing. Nullopt where that takes an
/// evaluator.
std::optional<TensorData> streamed(const TensorData::Node &node,
                                   const std::vector<std::vector<Attr>> &operands);

/// A streamable tree with its axes permuted. What holds a computed constant that no permutation
/// goes through is read whole for it.
TensorData permuteStreamed(const TensorData &tensor, llvm::ArrayRef<int64_t> perm);

/// Elements of a computed constant that streamed() returned.
size_t readComputed(const TensorData::Node &node, int64_t begin, int64_t count, uint8_t *out);

} // namespace plait::mil
