// hoist-invariants: computes once, before a loop, what is the same in every turn.
//
//   %y = while_loop(loop_vars = (%i0, %x)) {                    before
//       ...
//       block1(%i, %v) {
//           %a = linear(x = %x, weight = %w)
//           %b = add(x = %v, y = %a)
//       } -> (%j, %b)
//
//   %a = linear(x = %x, weight = %w)                            after
//   %y = while_loop(loop_vars = (%i0, %x)) {
//       ...
//       block1(%i, %v) {
//           %b = add(x = %v, y = %a)
//       } -> (%j, %b)
//
// A loop may end before its first turn: what could fail then (an index out of range, a division by
// zero) stays, and what the block returns stays its own.
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

bool mayFail(const Op &op) {
  switch (op.kind()) {
  case OpKind::floor_div:
  case OpKind::mod:
  case OpKind::real_div:
    return !isFloat(op.result()->type.dtype());
  case OpKind::gather:
  case OpKind::gather_along_axis:
  case OpKind::gather_nd:
  case OpKind::scatter:
  case OpKind::scatter_along_axis:
  case OpKind::scatter_nd:
  case OpKind::slice_by_size:
    return true;
  default:
    return !llvm::all_of(op.results(), [](const auto &result) {
      return result->type.isTensor() && constShape(result->type.shape());
    });
  }
}

/// The value is there before the loop.
bool isOutside(const Value *value, const Op &loop) {
  for (const Block *block = value->block(); block && block->parentOp();
       block = block->parentOp()->parent())
    if (block->parentOp() == &loop)
      return false;
  return true;
}

bool isInvariant(const Op &op, const Op &loop) {
  if (op.is(OpKind::const_) || !op.blocks().empty() || op.numResults() == 0 ||
      (op.info().traits & (Effect | ReadsMemory | NonDeterministic)) || mayFail(op))
    return false;
  if (llvm::any_of(op.results(), [](const auto &result) { return result->isOutput(); }))
    return false;
  return llvm::all_of(op.operands(), [&](const Operand &operand) {
    return isCompileTime(operand.get()) || isOutside(operand.get(), loop);
  });
}

/// Moves the operation before the loop, and before it the constants that it reads in there.
void hoist(Op &op, Op &loop) {
  for (Operand &operand : op.operands())
    if (!isOutside(operand.get(), loop))
      hoist(*operand->def(), loop);
  op.moveBefore(&loop);
}

} // namespace

bool hoistInvariants(Program &program, PassContext &) {
  llvm::SmallVector<Op *, 4> loops;
  walk(program, [&](Op &op) {
    if (op.is(OpKind::while_loop))
      loops.push_back(&op);
  });
  bool changed = false;
  // Inner ones first: what leaves them may leave those around them, too.
  for (Op *loop : llvm::reverse(loops))
    for (const auto &block : loop->blocks())
      for (Op &op : llvm::make_early_inc_range(*block))
        if (isInvariant(op, *loop)) {
          hoist(op, *loop);
          changed = true;
        }
  return changed;
}

} // namespace plait::passes
