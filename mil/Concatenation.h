// Constants one behind the other: what a computed constant of `concat` is made of. It is read part
// by part, so that joined weights stay where they lie.
#pragma once

#include "mil/TensorData.h"

#include <optional>

namespace plait::mil {

/// Tensors of one element type along an axis of the result; their other dimensions agree.
struct Concatenation {
  llvm::SmallVector<const TensorData *, 4> parts; ///< in the node
  size_t axis;

  /// Elements of the result that are the same part's and follow one another, in row-major order.
  /// `visit(part, from, at, count)`: elements [from, from + count) of the part are those of the
  /// result from `begin + at` on.
  void forEachRun(
      llvm::ArrayRef<int64_t> shape, int64_t begin, int64_t count,
      llvm::function_ref<void(const TensorData &part, int64_t from, int64_t at, int64_t count)>
          visit) const;
  /// The same of other parts, of the same sizes along the axis, along `axis`.
  static TensorData make(llvm::ArrayRef<TensorData> parts, size_t axis);
};

/// Nullopt of any other node, and of elements smaller than a byte.
std::optional<Concatenation> concatenationOf(const TensorData::Node &node);

/// Tensors of one element type, with the same dimensions but the first, one behind the other along
/// that. A canonical tree: a cast that all have is a cast of the whole, neighbours in one parameter
/// are one view, equal numbers are a splat.
TensorData concatenated(llvm::ArrayRef<TensorData> parts);

} // namespace plait::mil
