// merge-slices: makes fewer operations of slices and of what drops the axes that they leave at 1.
//
//   %a = slice_by_index(x = %x, begin = [0, 2, 0], end = [1, 3, 8])     before
//   %b = squeeze(x = %a, axes = [1])
//
//   %b = slice_by_index(x = %x, begin = [0, 2, 0], end = [1, 3, 8],     after
//                       squeeze_mask = [false, true, false])
//
// A slice of what dropped axes has a mask for these. A slice of a slice is one slice. Slices that
// cut one tensor into pieces are one split. A split of which each piece loses its axis is a slice
// for each piece. Slices of an axis that a reshape makes, one part each, are a split of that axis
// and the next one together. A slice of exactly one operand of a concat or a stack is that operand.
//
// coremltools writes the mask for every `select` of PyTorch. A comment in its tests says that the
// first systems with ML programs ignored it, so it is written from ios18 on.
#include "passes/Match.h"
#include "passes/SliceBounds.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// Which axes of its operand a squeeze drops, or a reshape that drops some of size 1.
std::optional<llvm::SmallVector<bool, 5>> droppedAxes(const Op &op) {
  if (!op.is(OpKind::squeeze) && !op.is(OpKind::reshape))
    return std::nullopt;
  llvm::ArrayRef<Dim> from = op[0]->type.shape(), to = op.result()->type.shape();
  llvm::SmallVector<bool, 5> dropped(from.size(), false);
  if (to.empty() || to.size() >= from.size())
    return std::nullopt;
  if (op.is(OpKind::reshape) && (!staticShape(op[0]) || !staticShape(op.result())))
    return std::nullopt;
  if (op.is(OpKind::squeeze)) {
    auto axes = constInts(op[squeeze::axes]);
    if (!axes)
      return std::nullopt;
    for (int64_t axis : *axes)
      dropped[normalAxis(axis, from.size())] = true;
    return dropped;
  }
  size_t kept = 0;
  for (auto [i, size] : llvm::enumerate(from)) {
    if (kept < to.size() && size == to[kept])
      ++kept;
    else if (size == Dim(1))
      dropped[i] = true;
    else
      return std::nullopt;
  }
  return kept == to.size() ? std::optional(dropped) : std::nullopt;
}

/// squeeze(slice(x)) as a slice with a mask.
Value *withMask(Op &op) {
  namespace s = slice_by_index;
  Op *slice = definedBy(op[0], OpKind::slice_by_index);
  auto dropped = slice ? droppedAxes(op) : std::nullopt;
  auto begin = slice ? constInts((*slice)[s::begin]) : std::nullopt;
  if (!dropped || !begin || !slice->result()->hasOneUse())
    return nullptr;
  auto fromStart = constInts((*slice)[s::begin_mask]), old = constInts((*slice)[s::squeeze_mask]);
  llvm::SmallVector<bool, 5> mask;
  size_t axis = 0; // of the slice's result
  for (size_t i = 0; i < begin->size(); ++i) {
    bool was = old && (*old)[i];
    mask.push_back(was || (*dropped)[axis]);
    if (mask.back() && !was && fromStart && (*fromStart)[i])
      (*begin)[i] = 0;
    axis += !was;
  }
  Value *merged = Builder::before(&op).emit(OpKind::slice_by_index,
                                            {{s::x, (*slice)[s::x]},
                                             Arg(s::begin, llvm::ArrayRef<int64_t>(*begin)),
                                             {s::end, (*slice)[s::end]},
                                             {s::stride, (*slice)[s::stride]},
                                             {s::begin_mask, (*slice)[s::begin_mask]},
                                             {s::end_mask, (*slice)[s::end_mask]},
                                             Arg(s::squeeze_mask, llvm::ArrayRef<bool>(mask))},
                                            slice->name);
  if (!Builder::isPoison(merged))
    merged->type = op.result()->type;
  return merged;
}

/// A slice of what dropped axes of one element, where nothing but slices uses that, with a mask for
/// them.
Value *withDropped(Op &op) {
  Op *drop = op[0]->def();
  auto own = sliceBounds(op);
  auto dropped = own && drop && drop->numResults() == 1 && !drop->operands().empty()
                     ? droppedAxes(*drop)
                     : std::nullopt;
  if (!dropped || !staticShape((*drop)[0]) ||
      llvm::any_of(op[0]->users(), [](const Op *user) { return !sliceBounds(*user).has_value(); }))
    return nullptr;
  SliceBounds bounds;
  size_t axis = 0; // of what is sliced
  for (bool isDropped : *dropped)
    bounds.push_back(isDropped ? SlicedAxis{0, 1, 1, true} : (*own)[axis++]);
  Builder builder = Builder::before(&op);
  return emitSlice(builder, (*drop)[0], bounds, op.name);
}

/// A slice of a slice that nothing else uses.
Value *joined(Op &op) {
  Op *inner = definedBy(op[0], OpKind::slice_by_index);
  auto outer = sliceBounds(op);
  auto bounds = inner && outer ? sliceBounds(*inner) : std::nullopt;
  if (!bounds || !inner->result()->hasOneUse())
    return nullptr;
  size_t axis = 0; // of the inner slice's result
  for (SlicedAxis &b : *bounds) {
    if (b.squeezed)
      continue;
    const SlicedAxis &o = (*outer)[axis++];
    b = {b.begin + o.begin * b.step, o.count, b.step * o.step, o.squeezed};
  }
  Builder builder = Builder::before(&op);
  return emitSlice(builder, (*inner)[slice_by_index::x], *bounds, inner->name);
}

/// The operand of a concat or stack that the slice takes, if it takes one as it is.
Value *takenOperand(Op &op) {
  Op *join = op[0]->def();
  auto bounds = join ? sliceBounds(op) : std::nullopt;
  auto axis = bounds ? onlySlicedAxis(*bounds, op[0]) : std::nullopt;
  if (!axis)
    return nullptr;
  const SlicedAxis &cut = (*bounds)[*axis];
  if (join->is(OpKind::stack)) {
    if (!cut.squeezed ||
        normalAxis(constInt((*join)[stack::axis]).value_or(0), bounds->size()) != *axis)
      return nullptr;
    return join->operands(stack::values)[cut.begin];
  }
  if (!join->is(OpKind::concat) || cut.squeezed || cut.step != 1 ||
      constBool((*join)[concat::interleave]).value_or(false) ||
      normalAxis(constInt((*join)[concat::axis]).value_or(0), bounds->size()) != *axis)
    return nullptr;
  int64_t at = 0;
  for (Value *operand : join->operands(concat::values)) {
    auto size = operand->type.shape()[*axis].tryValue();
    if (!size || at == cut.begin)
      return size == cut.count ? operand : nullptr;
    at += *size;
  }
  return nullptr;
}

/// The slice and earlier ones of the same tensor, which cut it into pieces along one axis, as a
/// split.
bool intoSplit(Op &op) {
  Value *x = op[slice_by_index::x];
  auto own = sliceBounds(op);
  auto axis = own ? onlySlicedAxis(*own, x) : std::nullopt;
  DType dtype = x->type.dtype();
  if (!axis || !(isFloat(dtype) || dtype == DType::I32 || dtype == DType::Bool))
    return false;
  std::vector<std::pair<SlicedAxis, Op *>> pieces;
  for (Op *user : x->users()) {
    if (!user->is(OpKind::slice_by_index) || user->parent() != op.parent())
      continue;
    auto bounds = sliceBounds(*user);
    if (bounds && onlySlicedAxis(*bounds, x) == axis && !(*bounds)[*axis].squeezed &&
        (*bounds)[*axis].step == 1)
      pieces.emplace_back((*bounds)[*axis], user);
  }
  if (pieces.size() < 2)
    return false;
  llvm::sort(pieces, [](const auto &a, const auto &b) { return a.first.begin < b.first.begin; });
  llvm::SmallVector<int64_t, 4> sizes;
  int64_t at = 0;
  for (const auto &[bounds, user] : pieces) {
    if (bounds.begin != at)
      return false;
    at += bounds.count;
    sizes.push_back(bounds.count);
  }
  llvm::SmallVector<Op *, 4> slices;
  for (const auto &piece : pieces)
    slices.push_back(piece.second);
  Op *first = Dim(at) == x->type.shape()[*axis] ? firstOf(slices, op) : nullptr;
  if (!first)
    return false;
  Op *split = Builder::before(first).create(
      OpKind::split, {{split::x, x},
                      Arg(split::split_sizes, llvm::ArrayRef<int64_t>(sizes)),
                      {split::axis, int64_t(*axis)}});
  if (!split)
    return false;
  for (auto [i, piece] : llvm::enumerate(pieces))
    replaceOp(piece.second, split->result(i));
  return true;
}

/// Slices that take one part each of an axis that a reshape makes, behind a transpose or not, as a
/// split of what that axis and the next one are together: queries, keys and values of one layer,
/// without an axis of their own.
bool intoGroups(Op &op) {
  Value *x = op[slice_by_index::x];
  Op *swap = definedBy(x, OpKind::transpose);
  Op *first = definedBy(swap ? (*swap)[transpose::x] : x, OpKind::reshape);
  auto own = first ? sliceBounds(op) : std::nullopt;
  auto axis = own ? onlySlicedAxis(*own, x) : std::nullopt;
  auto shape = axis ? staticShape(first->result()) : std::nullopt;
  auto perm = swap ? constInts((*swap)[transpose::perm]) : std::nullopt;
  DType dtype = x->type.dtype();
  if (!shape || (swap && !(perm && first->result()->hasOneUse())) ||
      !(isFloat(dtype) || dtype == DType::I32 || dtype == DType::Bool))
    return false;
  auto before = [&](size_t i) { return perm ? normalAxis((*perm)[i], shape->size()) : int64_t(i); };
  size_t from = size_t(before(*axis));
  if (from + 1 == shape->size() || (*shape)[from] < 2 || (*shape)[from + 1] < 2)
    return false;
  llvm::SmallVector<Op *, 4> pieces(size_t((*shape)[from]), nullptr);
  for (Op *user : x->users()) {
    auto bounds = user->parent() == op.parent() ? sliceBounds(*user) : std::nullopt;
    if (!bounds || onlySlicedAxis(*bounds, x) != axis || !(*bounds)[*axis].squeezed)
      return false;
    Op *&piece = pieces[size_t((*bounds)[*axis].begin)];
    if (piece)
      return false;
    piece = user;
  }
  Op *earliest = llvm::is_contained(pieces, nullptr) ? nullptr : firstOf(pieces, op);
  if (!earliest)
    return false;
  llvm::SmallVector<int64_t, 5> joined, order;
  for (size_t i = 0; i < shape->size(); ++i) {
    if (i != from)
      joined.push_back(i == from + 1 ? (*shape)[from] * (*shape)[i] : (*shape)[i]);
    if (size_t from_i = size_t(before(i)); from_i != from)
      order.push_back(int64_t(from_i > from ? from_i - 1 : from_i));
  }
  Builder builder = Builder::before(earliest);
  Value *source = builder.emit(
      OpKind::reshape,
      {{reshape::x, (*first)[reshape::x]}, Arg(reshape::shape, llvm::ArrayRef<int64_t>(joined))},
      first->name);
  if (!llvm::is_sorted(order))
    source = builder.emit(
        OpKind::transpose,
        {{transpose::x, source}, Arg(transpose::perm, llvm::ArrayRef<int64_t>(order))}, swap->name);
  llvm::SmallVector<int64_t, 4> sizes(pieces.size(), (*shape)[from + 1]);
  Op *split = builder.create(
      OpKind::split, {{split::x, source},
                      Arg(split::split_sizes, llvm::ArrayRef<int64_t>(sizes)),
                      {split::axis, int64_t(llvm::find(order, int64_t(from)) - order.begin())}});
  assert(split && "a split of a known shape");
  for (auto [i, piece] : llvm::enumerate(pieces))
    replaceOp(piece, split->result(i));
  return true;
}

/// Dropping the axis of a piece, where all pieces of the split lose theirs, as a slice.
Value *sliceOfPiece(Op &op) {
  Op *split = definedBy(op[0], OpKind::split);
  auto shape = split ? staticShape((*split)[split::x]) : std::nullopt;
  auto axis = shape ? constInt((*split)[split::axis]) : std::nullopt;
  if (!axis)
    return nullptr;
  int64_t along = normalAxis(*axis, shape->size());
  int64_t begin = 0; // of this piece
  for (const auto &piece : split->results()) {
    const Dim &size = piece->type.shape()[along];
    if (!size.isConst())
      return nullptr;
    begin += piece->index() < op[0]->index() ? size.value() : 0;
    if (!piece->hasUses())
      continue;
    Op *user = piece->hasOneUse() ? piece->users()[0] : nullptr;
    auto dropped = user ? droppedAxes(*user) : std::nullopt;
    if (!dropped || llvm::count(*dropped, true) != 1 || !(*dropped)[along])
      return nullptr;
  }
  SliceBounds bounds;
  for (int64_t size : *shape)
    bounds.push_back({0, size, 1, false});
  bounds[along] = {begin, 1, 1, true};
  Builder builder = Builder::before(&op);
  return emitSlice(builder, (*split)[split::x], bounds, op.name);
}

} // namespace

bool mergeSlices(Program &program, PassContext &context) {
  // Before ios18 a mask is not to be relied on.
  bool masks = context.options.target >= Opset::iOS18;
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.numResults() != 1 || !op.result()->hasUses() || op.operands().empty())
      return;
    Value *better = nullptr;
    if (op.is(OpKind::slice_by_index)) {
      better = takenOperand(op);
      if (!better)
        better = joined(op);
      if (!better && masks && op.result()->type.rank() > 0)
        better = withDropped(op);
    } else if (masks) {
      better = withMask(op);
      if (!better)
        better = sliceOfPiece(op);
    }
    if (better && !Builder::isPoison(better) && better->type == op.result()->type &&
        canReplace(op.result(), better)) {
      replaceOp(&op, better);
      changed = true;
    } else if (op.is(OpKind::slice_by_index)) {
      changed |= intoSplit(op) || intoGroups(op);
    }
  });
  return changed;
}

} // namespace plait::passes
