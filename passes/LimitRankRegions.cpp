// limit-rank: what goes into and comes out of branches and loops.
//
//   a = cond(pred = p) { … } -> (b) { … } -> (c)         before: rank 6
//
//   a_0 = cond(pred = p) { … b_0 = reshape(x = b) } -> (b_0) { … } -> (c_0)     after
//   a = reshape(x = a_0)
//
// The reshapes to rank 6 are then passed over by what follows, as all others are. Values whose
// sizes are not all known stay.
#include "passes/LimitRank.h"

namespace plait::passes {

using namespace mil;

namespace {

/// The shape in which a value of too many axes crosses the border; nullopt of other values.
std::optional<Shape> borderShape(const Value &value) {
  if (!value.type.isTensor() || value.type.rank() <= kMaxRank || !value.type.hasStaticShape())
    return std::nullopt;
  return joinedShape(value.type.shape());
}

Value *reshaped(Builder &builder, Value *value, llvm::ArrayRef<Dim> shape) {
  auto sizes = *constShape(shape);
  return builder.emit(OpKind::reshape,
                      {{reshape::x, value}, {reshape::shape, llvm::ArrayRef<int64_t>(sizes)}});
}

/// `value` is made in the narrow shape from here on; its users get it under its own.
void narrowHere(Value *value, const Shape &shape, Block &block, Block::iterator behind) {
  Shape own(value->type.shape());
  value->type = value->type.withShape(shape);
  if (!value->hasUses())
    return;
  Builder builder(block, behind);
  builder.setLocation(value->def() ? value->def()->location : block.parentOp()->location);
  Value *wide = reshaped(builder, value, own);
  value->replaceAllUsesWith(wide);
  wide->def()->set(reshape::x, value);
  for (Operand &use : wide->uses())
    if (use.owner()->isTerminator() && !use.owner()->parent()->parentOp()) {
      std::swap(value->name, wide->name); // an output of the function
      break;
    }
}

void narrowOutput(Block &block, unsigned index, const Shape &shape) {
  Builder builder(block, block.end());
  if (Op *def = block.outputs()[index]->def())
    builder.setLocation(def->location);
  block.outputs()[index].set(reshaped(builder, block.outputs()[index], shape));
}

bool narrowCond(Op &op) {
  bool changed = false;
  for (unsigned i = 0; i < op.numResults(); ++i) {
    auto shape = borderShape(*op.result(i));
    if (!shape)
      continue;
    for (const auto &block : op.blocks())
      narrowOutput(*block, i, *shape);
    narrowHere(op.result(i), *shape, *op.parent(), std::next(op.getIterator()));
    changed = true;
  }
  return changed;
}

bool narrowLoop(Op &op) {
  bool changed = false;
  llvm::SmallVector<Value *, 8> initial;
  for (Value *value : op.operands(while_loop::loop_vars))
    initial.push_back(value);
  for (unsigned i = 0; i < op.numResults(); ++i) {
    auto shape = borderShape(*op.result(i));
    if (!shape || !initial[i]->type.hasStaticShape())
      continue;
    Builder before(*op.parent(), op.getIterator());
    before.setLocation(op.location);
    initial[i] = reshaped(before, initial[i], *shape);
    for (const auto &block : op.blocks())
      narrowHere(block->args()[i].get(), *shape, *block, block->begin());
    narrowOutput(*op.blocks()[1], i, *shape);
    narrowHere(op.result(i), *shape, *op.parent(), std::next(op.getIterator()));
    changed = true;
  }
  if (changed)
    op.set(while_loop::loop_vars, initial);
  return changed;
}

} // namespace

bool limitRegionRanks(Program &program) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.is(OpKind::cond))
      changed |= narrowCond(op);
    else if (op.is(OpKind::while_loop))
      changed |= narrowLoop(op);
  });
  return changed;
}

} // namespace plait::passes
