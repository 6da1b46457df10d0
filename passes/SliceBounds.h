// What a slice_by_index with constant bounds takes, or a slice_update writes, axis by axis.
#pragma once

#include "passes/Rewrite.h"

namespace plait::passes {

/// One axis of the operand: elements begin, begin + step, …; `count` of them. A squeezed axis has
/// one element, which gives the result no axis.
struct SlicedAxis {
  int64_t begin, count, step;
  bool squeezed;
};
using SliceBounds = llvm::SmallVector<SlicedAxis, 5>;

/// The bounds of a slice_by_index of a static shape, with constant bounds and steps of 1 or more;
/// nullopt for any other operation.
std::optional<SliceBounds> sliceBounds(const mil::Op &op);

/// The same of a slice_update: what it writes.
std::optional<SliceBounds> writtenBounds(const mil::Op &op);

/// The one axis that the slice does not take whole; nullopt where there is none or are several.
std::optional<unsigned> onlySlicedAxis(const SliceBounds &bounds, const mil::Value *x);

/// A slice_by_index of `x` with these bounds.
mil::Value *emitSlice(mil::Builder &builder, mil::Value *x, const SliceBounds &bounds,
                      llvm::StringRef name);

} // namespace plait::passes
