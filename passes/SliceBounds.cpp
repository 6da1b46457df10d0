// Reading and writing the bounds of slices.
#include "passes/SliceBounds.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;
namespace s = slice_by_index;

namespace {

/// Where the two operations have their parameters.
struct Places {
  unsigned x, begin, end, stride, beginMask, endMask, squeezeMask;
};

std::optional<SliceBounds> boundsOf(const Op &op, const Places &place) {
  auto shape = staticShape(op[place.x]);
  auto begin = constInts(op[place.begin]), end = constInts(op[place.end]),
       stride = constInts(op[place.stride]);
  if (!shape || !begin || !end || (op[place.stride] && !stride))
    return std::nullopt;
  auto bit = [&](unsigned param, size_t i) {
    auto mask = constInts(op[param]);
    return mask && (*mask)[i];
  };
  SliceBounds bounds;
  for (size_t i = 0; i < shape->size(); ++i) {
    int64_t size = (*shape)[i], step = stride ? (*stride)[i] : 1;
    if (step < 1)
      return std::nullopt;
    auto clamp = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + size : v, 0, size); };
    bool squeezed = bit(place.squeezeMask, i);
    int64_t first = bit(place.beginMask, i) && !squeezed ? 0 : clamp((*begin)[i]);
    int64_t last = squeezed ? first + 1 : bit(place.endMask, i) ? size : clamp((*end)[i]);
    if (first >= last || last > size)
      return std::nullopt;
    bounds.push_back({first, (last - first + step - 1) / step, step, squeezed});
  }
  return bounds;
}

} // namespace

std::optional<SliceBounds> sliceBounds(const Op &op) {
  if (!op.is(OpKind::slice_by_index))
    return std::nullopt;
  return boundsOf(op,
                  {s::x, s::begin, s::end, s::stride, s::begin_mask, s::end_mask, s::squeeze_mask});
}

std::optional<SliceBounds> writtenBounds(const Op &op) {
  namespace u = slice_update;
  if (!op.is(OpKind::slice_update))
    return std::nullopt;
  return boundsOf(op,
                  {u::x, u::begin, u::end, u::stride, u::begin_mask, u::end_mask, u::squeeze_mask});
}

std::optional<unsigned> onlySlicedAxis(const SliceBounds &bounds, const Value *x) {
  std::optional<unsigned> sliced;
  for (auto [i, axis] : llvm::enumerate(bounds)) {
    if (!axis.squeezed && axis.begin == 0 && axis.step == 1 &&
        x->type.shape()[i] == Dim(axis.count))
      continue;
    if (sliced)
      return std::nullopt;
    sliced = unsigned(i);
  }
  return sliced;
}

Value *emitSlice(Builder &builder, Value *x, const SliceBounds &bounds, llvm::StringRef name) {
  llvm::SmallVector<int64_t, 5> begin, end, stride;
  llvm::SmallVector<bool, 5> toEnd, squeezed;
  for (auto [i, axis] : llvm::enumerate(bounds)) {
    begin.push_back(axis.begin);
    end.push_back(axis.begin + (axis.count - 1) * axis.step + 1);
    stride.push_back(axis.step);
    toEnd.push_back(!axis.squeezed && Dim(end.back()) == x->type.shape()[i]);
    squeezed.push_back(axis.squeezed);
  }
  llvm::SmallVector<Arg, 6> args{{s::x, x},
                                 Arg(s::begin, llvm::ArrayRef<int64_t>(begin)),
                                 Arg(s::end, llvm::ArrayRef<int64_t>(end)),
                                 Arg(s::end_mask, llvm::ArrayRef<bool>(toEnd))};
  if (llvm::any_of(stride, [](int64_t step) { return step != 1; }))
    args.push_back(Arg(s::stride, llvm::ArrayRef<int64_t>(stride)));
  if (llvm::is_contained(squeezed, true))
    args.push_back(Arg(s::squeeze_mask, llvm::ArrayRef<bool>(squeezed)));
  return builder.emit(OpKind::slice_by_index, args, name);
}

} // namespace plait::passes
