// merge-concats: makes fewer operations of what joins tensors.
//
//   %a = expand_dims(x = %x, axes = [0])                        before
//   %b = expand_dims(x = %y, axes = [0])
//   %c = concat(values = (%a, %b), axis = 0)
//
//   %c = stack(values = (%x, %y), axis = 0)                     after
//
// A concat of concats along the same axis is one concat. The pieces of a split, joined again in
// their order, are what was split; a split of a concat into its operands gives these.
//
// The channels of several images, interleaved by reshape, transpose and reshape as ShuffleNet does,
// are one concat with `interleave`. coremltools writes it of images alone, and so does this pass.
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

using Values = llvm::SmallVector<Value *, 4>;

/// The axis along which a plain concat or a split works; nullopt for any other operation.
std::optional<int64_t> axisOf(const Op *op) {
  std::optional<int64_t> axis;
  if (op->is(OpKind::split))
    axis = constInt((*op)[split::axis]);
  else if (op->is(OpKind::concat) && constBool((*op)[concat::interleave]) == false)
    axis = constInt((*op)[concat::axis]);
  return axis ? std::optional(normalAxis(*axis, op->result()->type.rank())) : std::nullopt;
}

Value *emitConcat(Builder &builder, const Values &values, int64_t axis, bool interleave,
                  llvm::StringRef name) {
  return builder.emit(OpKind::concat,
                      {{concat::values, llvm::ArrayRef<Value *>(values)},
                       {concat::axis, axis},
                       {concat::interleave, interleave}},
                      name);
}

/// The operands, those of concats along the axis that nothing else uses in place of these.
Value *flattened(Op &op, int64_t axis) {
  Values values;
  bool nested = false;
  for (Value *operand : op.operands(concat::values)) {
    Op *inner = operand->hasOneUse() ? definedBy(operand, OpKind::concat) : nullptr;
    if (!inner || axisOf(inner) != axis) {
      values.push_back(operand);
      continue;
    }
    nested = true;
    for (Value *value : inner->operands(concat::values))
      values.push_back(value);
  }
  if (!nested)
    return nullptr;
  Builder builder = Builder::before(&op);
  return emitConcat(builder, values, axis, false, op.name);
}

/// Neighbouring pieces of splits along the axis, where all pieces of one stand in their order, as
/// what was split.
Value *reunited(Op &op, int64_t axis) {
  Values values;
  auto operands = op.operands(concat::values);
  for (size_t i = 0; i < operands.size(); ++i) {
    Value *piece = operands[i];
    Op *split = piece->index() == 0 ? definedBy(piece, OpKind::split) : nullptr;
    size_t count = split && axisOf(split) == axis ? split->numResults() : 0;
    bool whole = count > 0 && i + count <= operands.size();
    for (size_t k = 0; whole && k < count; ++k)
      whole = operands[i + k].get() == split->result(k);
    values.push_back(whole ? (*split)[split::x] : piece);
    if (whole)
      i += count - 1;
  }
  if (values.size() == operands.size())
    return nullptr;
  if (values.size() == 1)
    return values[0];
  Builder builder = Builder::before(&op);
  return emitConcat(builder, values, axis, false, op.name);
}

/// The source of an operation that only adds an axis of 1 at `axis`.
Value *withoutAxis(Value *value, int64_t axis) {
  Op *op = value->hasOneUse() ? value->def() : nullptr;
  if (!op || !(op->is(OpKind::expand_dims) || op->is(OpKind::reshape)))
    return nullptr;
  Value *x = (*op)[0];
  auto from = staticShape(x), to = staticShape(value);
  if (!from || !to || from->empty() || to->size() != from->size() + 1 || (*to)[axis] != 1)
    return nullptr;
  to->erase(to->begin() + axis);
  return *to == *from ? x : nullptr;
}

/// A concat of tensors that were given the axis for it.
Value *stacked(Op &op, int64_t axis) {
  Values values;
  for (Value *operand : op.operands(concat::values)) {
    values.push_back(withoutAxis(operand, axis));
    if (!values.back() || !(values.back()->type == values[0]->type))
      return nullptr;
  }
  if (values.size() < 2)
    return nullptr;
  Builder builder = Builder::before(&op);
  return builder.emit(OpKind::stack,
                      {{stack::values, llvm::ArrayRef<Value *>(values)}, {stack::axis, axis}},
                      op.name);
}

/// reshape(transpose(reshape(concat(x, y, …)))) that takes channels of each in turn.
Value *interleaved(Op &op) {
  auto usedOnce = [](Value *value, OpKind kind) {
    return value->hasOneUse() ? definedBy(value, kind) : nullptr;
  };
  Op *swap = usedOnce(op[reshape::x], OpKind::transpose);
  Op *apart = swap ? usedOnce((*swap)[transpose::x], OpKind::reshape) : nullptr;
  Op *join = apart ? usedOnce((*apart)[reshape::x], OpKind::concat) : nullptr;
  if (!join || axisOf(join) != 1 || !(join->result()->type == op.result()->type))
    return nullptr;
  auto image = staticShape(join->result()), groups = staticShape(apart->result());
  auto perm = constInts((*swap)[transpose::perm]);
  int64_t count = int64_t(join->operands(concat::values).size());
  if (!image || image->size() != 4 || !groups || groups->size() != 5 || !perm)
    return nullptr;
  for (int64_t &axis : *perm)
    axis = normalAxis(axis, 5);
  Value *first = (*join)[concat::values];
  Values values;
  for (Value *operand : join->operands(concat::values)) {
    if (!(operand->type == first->type))
      return nullptr;
    values.push_back(operand);
  }
  const int64_t apartShape[] = {(*image)[0], count, (*image)[1] / count, (*image)[2], (*image)[3]};
  const int64_t swapped[] = {0, 2, 1, 3, 4};
  if (llvm::ArrayRef(*groups) != llvm::ArrayRef(apartShape) ||
      llvm::ArrayRef(*perm) != llvm::ArrayRef(swapped))
    return nullptr;
  Builder builder = Builder::before(&op);
  return emitConcat(builder, values, 1, /*interleave=*/true, join->name);
}

/// A split of a concat into its operands.
bool takeApart(Op &op) {
  Op *join = definedBy(op[split::x], OpKind::concat);
  auto along = axisOf(&op);
  if (!join || !along || axisOf(join) != along ||
      join->operands(concat::values).size() != op.numResults())
    return false;
  for (auto [piece, operand] : llvm::zip(op.results(), join->operands(concat::values)))
    if (!(piece->type == operand->type))
      return false;
  bool changed = false;
  for (auto [piece, operand] : llvm::zip(op.results(), join->operands(concat::values)))
    if (piece->hasUses() && canReplace(piece.get(), operand.get())) {
      replaceUses(piece.get(), operand.get());
      changed = true;
    }
  eraseDead(&op);
  return changed;
}

Value *merged(Op &op) {
  if (op.is(OpKind::reshape))
    return interleaved(op);
  auto axis = op.is(OpKind::concat) ? axisOf(&op) : std::nullopt;
  if (!axis)
    return nullptr;
  if (Value *better = flattened(op, *axis))
    return better;
  if (Value *better = reunited(op, *axis))
    return better;
  return stacked(op, *axis);
}

} // namespace

bool mergeConcats(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.is(OpKind::split)) {
      changed |= takeApart(op);
      return;
    }
    if (op.numResults() != 1 || !op.result()->hasUses())
      return;
    Value *better = merged(op);
    if (!better || Builder::isPoison(better) || !(better->type == op.result()->type) ||
        !canReplace(op.result(), better))
      return;
    replaceOp(&op, better);
    changed = true;
  });
  return changed;
}

} // namespace plait::passes
