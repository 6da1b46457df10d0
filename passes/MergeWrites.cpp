// merge-writes: makes fewer operations of parts of a tensor that are written one after the other.
//
//   %a = slice_update(x = %x, update = %u, begin = [0, 0], end = [2, 4])      before
//   %b = slice_update(x = %a, update = %v, begin = [0, 4], end = [2, 8])
//
//   %b = concat(values = (%u, %v), axis = 1)                                  after: %x is [2, 8]
//
// Parts that together are the whole along one axis are its concat, whatever was there before. What
// is written again as a whole need not be written the first time.
#include "passes/Match.h"
#include "passes/SliceBounds.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// The slice_update whose result is written to and not used otherwise.
Op *writtenBefore(const Op &op) {
  Value *x = op[slice_update::x];
  return x->hasOneUse() && x->def() && x->def()->parent() == op.parent()
             ? definedBy(x, OpKind::slice_update)
             : nullptr;
}

/// Every element of `inner` is one of `outer`.
bool isWithin(const SliceBounds &inner, const SliceBounds &outer) {
  return llvm::all_of(llvm::zip_equal(inner, outer), [](auto pair) {
    const SlicedAxis &a = std::get<0>(pair), &b = std::get<1>(pair);
    int64_t lastOfA = a.begin + (a.count - 1) * a.step, lastOfB = b.begin + (b.count - 1) * b.step;
    bool same = a.begin == b.begin && a.count == b.count && a.step == b.step;
    return same || (b.step == 1 && a.begin >= b.begin && lastOfA <= lastOfB);
  });
}

/// Leaves out writes that this one writes over.
bool dropOverwritten(Op &op, const SliceBounds &bounds) {
  bool changed = false;
  while (Op *before = writtenBefore(op)) {
    auto inner = writtenBounds(*before);
    if (!inner || !isWithin(*inner, bounds))
      break;
    op.set(slice_update::x, (*before)[slice_update::x]);
    eraseDead(before);
    changed = true;
  }
  return changed;
}

/// The operation and those before it, as a concat of what they write.
bool joinParts(Op &op, const SliceBounds &bounds) {
  Value *x = op[slice_update::x];
  auto axis = onlySlicedAxis(bounds, x);
  if (!axis)
    return false;
  struct Part {
    SlicedAxis along;
    Value *update;
  };
  llvm::SmallVector<Part, 4> parts;
  int64_t size = (*staticShape(x))[*axis], written = 0;
  for (Op *write = &op; write && written < size; write = writtenBefore(*write)) {
    auto part = writtenBounds(*write);
    if (!part || onlySlicedAxis(*part, x) != axis || (*part)[*axis].step != 1 ||
        (*part)[*axis].squeezed)
      return false;
    Value *update = (*write)[slice_update::update];
    auto shape = staticShape(update);
    if (!shape || shape->size() != part->size() || (*shape)[*axis] != (*part)[*axis].count ||
        update->type.dtype() != x->type.dtype())
      return false;
    parts.push_back({(*part)[*axis], update});
    written += (*part)[*axis].count;
  }
  llvm::sort(parts, [](const Part &a, const Part &b) { return a.along.begin < b.along.begin; });
  llvm::SmallVector<Value *, 4> values;
  int64_t end = 0;
  for (const Part &part : parts) {
    if (part.along.begin != end)
      return false;
    end += part.along.count;
    values.push_back(part.update);
  }
  if (end != size || parts.size() < 2)
    return false;
  Builder builder = Builder::before(&op);
  replaceOp(&op, builder.emit(OpKind::concat,
                              {{concat::values, llvm::ArrayRef<Value *>(values)},
                               {concat::axis, int64_t(*axis)},
                               {concat::interleave, false}},
                              op.name));
  return true;
}

} // namespace

bool mergeWrites(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    auto bounds = writtenBounds(op);
    if (!bounds)
      return;
    changed |= dropOverwritten(op, *bounds);
    changed |= joinParts(op, *bounds);
  });
  return changed;
}

} // namespace plait::passes
