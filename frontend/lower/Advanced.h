// Advanced indexing, x[i, :, j], as reading (index) and writing (index_put) share it.
#pragma once

#include "frontend/lower/Expr.h"

namespace plait::frontend {

/// The index tensors of a `Tensor?[] indices` argument, non-negative, and the axes they stand for.
struct AdvancedIndex {
  llvm::SmallVector<int64_t, 4> axes; ///< ascending
  std::vector<Expr> indices;          ///< int32, one an axis
  Shape shape;                        ///< what they broadcast to
  int64_t position = 0;               ///< where that shape stands in the result
  /// Set instead of all the above: a single mask whose content is not known, and its first axis.
  Tensor mask;
  int64_t maskAxis = 0;
  /// It has no positions: a known mask that selects nothing, or a tensor of no elements. All the
  /// above says nothing then.
  bool isEmpty = false;

  /// The permutation that brings the indexed axes to the front, in order.
  llvm::SmallVector<int64_t, 6> toFront(int64_t rank) const;
  /// [shape…, number of axes]: one position in the indexed axes for each element of `shape`.
  Expr coordinates(Call &c) const;
};

/// Reads the "indices" argument for a tensor of the given shape; nullopt after a refusal.
std::optional<AdvancedIndex> advancedIndex(Call &c, llvm::ArrayRef<Dim> shape);

/// x with axes permuted; x itself where nothing moves.
Expr permuteIfNeeded(const Expr &x, llvm::ArrayRef<int64_t> perm);
/// x in an element type that MIL's gathers and scatters take: bool becomes int32.
Expr gatherable(const Expr &x);

} // namespace plait::frontend
