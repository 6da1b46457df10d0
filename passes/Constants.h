// Constants as passes see them: splats, small values, and arithmetic on weights that stays lazy
// where they are large.
#pragma once

#include "passes/Pass.h"

namespace plait::passes {

/// Tensors of fewer elements are literals in a package, which no two functions share.
inline constexpr int64_t kBlobElements = 10;

/// Up to this many bytes a constant is computed at once; above, it stays a lazy transform.
inline constexpr uint64_t kSmallBytes = 64 * 1024;

/// The value of a numeric constant whose elements are all equal; reads no further than the first
/// difference.
std::optional<double> splatValue(const mil::Value *value);
std::optional<double> splatValue(const mil::TensorData &tensor);
inline bool isSplat(const mil::Value *value, double expected) {
  std::optional<double> found = splatValue(value);
  return found && *found == expected;
}

/// The elements of a float constant of at most `limit` bytes; nullopt when larger, not a constant
/// or not computable here.
std::optional<std::vector<double>> smallFloats(const mil::Value *value, const PassContext &context);
std::optional<std::vector<double>> smallFloats(const mil::TensorData &tensor,
                                               const PassContext &context,
                                               uint64_t limit = kSmallBytes);

/// A float tensor of these elements, each rounded once, computed from what `origin` says.
mil::TensorData floats(mil::DType dtype, llvm::ArrayRef<int64_t> shape,
                       llvm::ArrayRef<double> values, mil::Origin origin = {});

/// What a constant is that is computed from these; values that are null or no constants are left
/// out.
mil::Origin computedFrom(llvm::ArrayRef<const mil::Value *> constants);

/// tensor * factor, elementwise, `factor` broadcasting to `tensor`'s shape; products are taken in
/// fp32 and rounded to the dtype. Small results are computed, large ones are computed when read.
mil::TensorData multiply(const mil::TensorData &tensor, const mil::TensorData &factor,
                         const PassContext &context);

/// The elements of `constant` by position along one axis of a tensor of the given shape, with which
/// it broadcasts: its other dimensions are 1. A scalar gives equal elements. Nullopt when it varies
/// along another axis, would enlarge the tensor or has more than `limit` bytes.
std::optional<std::vector<double>> alongAxis(const mil::Value *constant,
                                             llvm::ArrayRef<mil::Dim> shape, unsigned axis,
                                             const PassContext &context,
                                             uint64_t limit = kSmallBytes);

/// bias + constant (or minus it) as the bias [channels] of an operation whose result has `shape`
/// and its channels along `axis`. A null or zero bias takes the constant over as it is, so that it
/// stays shared with equal ones. Nullopt when the constant is no such vector.
std::optional<mil::TensorData> addToBias(const mil::Value *bias, const mil::Value *constant,
                                         bool negate, llvm::ArrayRef<mil::Dim> shape, unsigned axis,
                                         const PassContext &context);

} // namespace plait::passes
