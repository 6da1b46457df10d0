// move-reshapes: moves reshapes past what lies between them, so that two become one.
//
//   %a = reshape(x = %x, shape = [10, 32])                       before
//   %b = linear(x = %a, weight, bias)
//   %c = reshape(x = %b, shape = [1, 10, 64])
//
//   %a = reshape(x = %x, shape = [1, 10, 32])                    after
//   %c = linear(x = %a, weight, bias)
//
// A linear layer, a norm of the last axis and what works element by element let a reshape pass that
// keeps that axis. A transpose lets axes of one element come and go: transpose(reshape(x)) is given
// them by its own reshape, and does without a reshape that only inserts them. Axes of one element
// that all pieces of a split are given are given before the split.
#include "mil/Computation.h"
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

using Sizes = llvm::SmallVector<int64_t, 6>;
constexpr size_t kRank = 5; // what devices take

/// A reshape, squeeze or expand_dims of known sizes.
Op *reshaping(Value *value) {
  Op *op = value->def();
  bool is =
      op && (op->is(OpKind::reshape) || op->is(OpKind::squeeze) || op->is(OpKind::expand_dims));
  return is && staticShape((*op)[0]) && staticShape(value) ? op : nullptr;
}

Op *onlyFor(Op *op) { return op && op->result()->hasOneUse() ? op : nullptr; }

Value *reshaped(Builder &builder, Value *x, const Sizes &shape, llvm::StringRef name) {
  return builder.emit(OpKind::reshape,
                      {{reshape::x, x}, {reshape::shape, llvm::ArrayRef<int64_t>(shape)}}, name);
}

/// A norm of the last axis and of no other.
bool isRowNorm(const Op &op) {
  if (!op.is(OpKind::layer_norm))
    return false;
  auto axes = constInts(op[layer_norm::axes]);
  size_t rank = op[layer_norm::x]->type.rank();
  return axes && axes->size() == 1 && normalAxis(axes->front(), rank) == int64_t(rank) - 1;
}

/// Works on the last axis as a whole.
bool keepsLastAxis(const Op &op) { return op.is(OpKind::linear) || isRowNorm(op); }

/// Works on each row alone, or on each element, with nothing but its first operand of that shape.
bool worksOnRows(const Op &op) { return keepsLastAxis(op) || computes(op, Unary); }

/// reshape(linear(reshape(x))): the last reshape is done by the first.
bool aboveRows(Op &op) {
  Sizes shape = *staticShape(op.result());
  llvm::SmallVector<Op *, 4> rows;
  Value *x = op[0];
  bool keepsLast = false;
  while (Op *row = onlyFor(x->def())) {
    if (row->numResults() != 1 || !worksOnRows(*row) || !staticShape((*row)[0]))
      break;
    keepsLast |= keepsLastAxis(*row);
    rows.push_back(row);
    x = (*row)[0];
  }
  Op *first = rows.empty() ? nullptr : onlyFor(reshaping(x));
  auto own = staticShape(op[0]), source = first ? staticShape((*first)[0]) : std::nullopt;
  if (!source || shape.empty() || own->empty() || source->empty() || shape.size() > kRank ||
      (keepsLast && (shape.size() < 2 || shape.back() != own->back())))
    return false;
  if (keepsLast)
    shape.back() = staticShape(x)->back();
  Builder builder = Builder::before(rows.back());
  Value *moved =
      *source == shape ? (*first)[0] : reshaped(builder, (*first)[0], shape, first->name);
  rows.back()->set(0, moved);
  for (Op *row : llvm::reverse(rows)) {
    if (row->is(OpKind::layer_norm)) {
      Op *axes = (*row)[layer_norm::axes]->def();
      row->set(layer_norm::axes, Builder::before(row).ints({-1})); // in any rank
      eraseDead(axes);
    }
    [[maybe_unused]] bool typed = retype(row);
    assert(typed && "rows of any shape are taken");
  }
  eraseDead(first);
  replaceOp(&op, rows.front()->result());
  return true;
}

/// For each axis of `to` the axis of `from` that it is, or -1: an axis of one element that is new.
/// Nullopt where anything but axes of one element comes or goes.
std::optional<Sizes> onesAlone(const Sizes &from, const Sizes &to) {
  Sizes axes;
  size_t at = 0;
  for (int64_t size : to) {
    while (size != 1 && at < from.size() && from[at] == 1)
      ++at;
    bool same = at < from.size() && from[at] == size;
    if (!same && size != 1)
      return std::nullopt;
    axes.push_back(same ? int64_t(at++) : -1);
  }
  while (at < from.size() && from[at] == 1)
    ++at;
  return at == from.size() ? std::optional(axes) : std::nullopt;
}

/// reshape(transpose(reshape(x))) of which a reshape only inserts or drops axes of one element, as
/// one reshape and a transpose.
bool aroundTranspose(Op &op) {
  Op *swap = onlyFor(definedBy(op[0], OpKind::transpose));
  Op *first = swap ? onlyFor(reshaping((*swap)[transpose::x])) : nullptr;
  auto perm = first ? constInts((*swap)[transpose::perm]) : std::nullopt;
  if (!perm)
    return false;
  size_t rank = perm->size();
  for (int64_t &axis : *perm)
    axis = normalAxis(axis, rank);
  Sizes source = *staticShape((*first)[0]), before = *staticShape(first->result()),
        after = *staticShape(op[0]), result = *staticShape(op.result());
  Builder builder = Builder::before(&op);
  auto transposed = [&](Value *x, const Sizes &order) {
    bool sorted = llvm::is_sorted(order);
    return sorted ? x
                  : builder.emit(
                        OpKind::transpose,
                        {{transpose::x, x}, {transpose::perm, llvm::ArrayRef<int64_t>(order)}},
                        swap->name);
  };
  if (auto axes = onesAlone(source, before); axes && source.size() >= 2) {
    // The first reshape goes: the transpose works on the axes that there were.
    Sizes order;
    for (size_t i = 0; i < source.size(); ++i)
      if (!llvm::is_contained(*axes, int64_t(i)))
        order.push_back(int64_t(i)); // dropped: of one element, so anywhere
    for (int64_t axis : *perm)
      if ((*axes)[axis] >= 0)
        order.push_back((*axes)[axis]);
    Value *x = transposed((*first)[0], order);
    replaceOp(&op, reshaped(builder, x, result, op.name));
    return true;
  }
  auto axes = onesAlone(after, result);
  if (!axes || result.size() > kRank || result.size() < 2)
    return false;
  // The last reshape goes: the first one makes the axes.
  Sizes shape, place(rank, -1), order(result.size(), 0);
  for (auto [i, axis] : llvm::enumerate(*axes))
    if (axis < 0) {
      order[i] = int64_t(shape.size());
      shape.push_back(1);
    }
  for (size_t i = 0; i < rank; ++i) {
    auto behind = llvm::find(*perm, int64_t(i)) - perm->begin();
    if (!llvm::is_contained(*axes, int64_t(behind)))
      continue; // dropped
    place[i] = int64_t(shape.size());
    shape.push_back(before[i]);
  }
  for (auto [i, axis] : llvm::enumerate(*axes))
    if (axis >= 0)
      order[i] = place[(*perm)[axis]];
  Value *x = transposed(reshaped(builder, (*first)[0], shape, first->name), order);
  replaceOp(&op, x);
  return true;
}

/// Reshapes that give all pieces of a split the same axes of one element, as one before the split.
bool aboveSplit(Op &op) {
  Op *split = definedBy(op[0], OpKind::split);
  auto source = split ? staticShape((*split)[split::x]) : std::nullopt;
  auto axis = source ? constInt((*split)[split::axis]) : std::nullopt;
  auto places = axis ? onesAlone(*staticShape(op[0]), *staticShape(op.result())) : std::nullopt;
  if (!places || places->size() > kRank ||
      llvm::count_if(*places, [](int64_t place) { return place >= 0; }) != int64_t(source->size()))
    return false;
  auto withAxes = [&](llvm::ArrayRef<int64_t> shape) {
    Sizes result;
    for (int64_t place : *places)
      result.push_back(place < 0 ? 1 : shape[size_t(place)]);
    return result;
  };
  llvm::SmallVector<Op *, 6> users;
  Sizes sizes;
  int64_t along = normalAxis(*axis, source->size());
  for (const auto &piece : split->results()) {
    Sizes shape = *staticShape(piece.get());
    sizes.push_back(shape[size_t(along)]);
    if (!piece->hasUses())
      continue;
    Op *user = piece->hasOneUse() ? piece->users()[0] : nullptr;
    if (!user || user->numResults() != 1 || user->parent() != op.parent() ||
        !reshaping(user->result()) || *staticShape(user->result()) != withAxes(shape))
      return false;
    users.push_back(user);
  }
  if (users.size() < 2 || !firstOf(users, op))
    return false;
  Builder builder = Builder::before(split);
  Value *x = reshaped(builder, (*split)[split::x], withAxes(*source), op.name);
  Op *moved = builder.create(OpKind::split,
                             {{split::x, x},
                              Arg(split::split_sizes, llvm::ArrayRef<int64_t>(sizes)),
                              {split::axis, int64_t(llvm::find(*places, along) - places->begin())}},
                             split->name);
  assert(moved && "the axes of pieces are those of the whole");
  for (Op *user : users)
    replaceOp(user, moved->result((*user)[0]->index()));
  return true;
}

} // namespace

bool moveReshapes(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.numResults() != 1 || !op.result()->hasUses() || op.operands().empty() ||
        !reshaping(op.result()))
      return;
    changed |= aboveRows(op) || aroundTranspose(op) || aboveSplit(op);
  });
  return changed;
}

} // namespace plait::passes
