// dce: deletes operations whose results nobody uses.
//
//   %a = relu(x = %x)                           before
//   %b = tanh(x = %x)
//   -> (%b)
//
//   %b = tanh(x = %x)                           after
//   -> (%b)
//
// Writes to states and lists stay, and so do control-flow operations that contain one. A result of
// a `cond` that nobody uses goes, and a variable of a loop that only its own next turn needs:
//
//   %u, %v = while_loop(loop_vars = (%i, %x)) { … } { -> (add(%i, 1), relu(%x)) }       before
//   -> (%u)
//
//   %u = while_loop(loop_vars = (%i)) { … } { -> (add(%i, 1)) }                         after
//   -> (%u)
#include "passes/Rewrite.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// Which variables of a loop are needed: by whoever uses its results, by its condition, by effects,
/// or by the next value of a variable that is needed.
llvm::SmallVector<bool> neededVariables(const Op &loop) {
  const Block &condition = *loop.blocks()[0], &body = *loop.blocks()[1];
  llvm::SmallVector<bool> needed(loop.numResults(), false);
  llvm::DenseSet<const Value *> seen;
  llvm::SmallVector<const Value *> work;
  auto need = [&](unsigned variable) {
    if (!std::exchange(needed[variable], true))
      work.push_back(body.outputs()[variable]);
  };
  auto useAll = [&](const Op &op, auto &self) -> void {
    for (const Operand &operand : op.operands())
      work.push_back(operand.get());
    for (const auto &inner : op.blocks()) {
      for (const Operand &output : inner->outputs())
        work.push_back(output.get());
      for (const Op &nested : *inner)
        self(nested, self);
    }
  };
  for (unsigned i = 0; i < needed.size(); ++i)
    if (loop.result(i)->hasUses() || condition.args()[i]->hasUses())
      need(i);
  for (const Op &op : body)
    if (!isRemovable(op))
      useAll(op, useAll);
  while (!work.empty()) {
    const Value *value = work.pop_back_val();
    if (!seen.insert(value).second)
      continue;
    if (const Op *def = value->def()) {
      if (def->parent() == &body)
        useAll(*def, useAll);
    } else if (value->block() == &body) {
      need(value->index());
    }
  }
  return needed;
}

llvm::SmallVector<bool> neededResults(const Op &op) {
  if (op.is(OpKind::while_loop))
    return neededVariables(op);
  llvm::SmallVector<bool> needed;
  for (const auto &result : op.results())
    needed.push_back(result->hasUses());
  return needed;
}

template <typename Range>
llvm::SmallVector<Value *> only(llvm::ArrayRef<bool> keep, const Range &values) {
  llvm::SmallVector<Value *> kept;
  for (auto [stays, value] : llvm::zip(keep, values))
    if (stays)
      kept.push_back(&*value);
  return kept;
}

bool sweep(Block &block);

/// The same operation with the results that are kept, in the place of the old one.
Op *withResults(Op &old, llvm::ArrayRef<bool> keep) {
  auto owned = std::make_unique<Op>(old.kind());
  owned->name = old.name;
  owned->location = old.location;
  owned->attributes = old.attributes;
  Op *op = old.parent()->insert(old.getIterator(), std::move(owned));
  bool isLoop = old.is(OpKind::while_loop);
  if (isLoop)
    op->set(while_loop::loop_vars, only(keep, old.operands(while_loop::loop_vars)));
  else
    op->set(cond::pred, old[cond::pred]);
  for (const auto &[i, from] : llvm::enumerate(old.blocks())) {
    Block *to = op->addBlock();
    llvm::SmallVector<Value *> outputs;
    if (isLoop && i == 0)
      llvm::append_range(outputs, from->outputs());
    else
      outputs = only(keep, from->outputs());
    // What computed the others goes first, and with it the last uses of their variables.
    from->setOutputs(outputs);
    sweep(*from);
    for (Value *arg : isLoop ? only(keep, from->args()) : llvm::SmallVector<Value *>())
      arg->replaceAllUsesWith(to->addArg(arg->type, arg->name));
    outputs.assign(from->outputs().begin(), from->outputs().end());
    from->setOutputs({});
    while (!from->empty())
      to->insert(to->end(), from->remove(&from->front()));
    to->setOutputs(outputs);
  }
  for (Value *result : only(keep, old.results()))
    result->replaceAllUsesWith(op->addResult(result->type, result->name));
  old.erase();
  return op;
}

// Backwards, so that a user goes before what it uses: one visit an operation.
bool sweep(Block &block) {
  bool changed = false;
  for (auto it = block.end(); it != block.begin();) {
    --it;
    if (it->isUnused() && isRemovable(*it)) {
      Op &op = *it++;
      op.erase();
      changed = true;
      continue;
    }
    if (it->is(OpKind::cond) || it->is(OpKind::while_loop))
      if (auto needed = neededResults(*it); llvm::is_contained(needed, false)) {
        it = withResults(*it, needed)->getIterator();
        changed = true;
      }
    for (const auto &inner : it->blocks())
      changed |= sweep(*inner);
  }
  return changed;
}

} // namespace

bool dce(Program &program, PassContext &) {
  bool changed = false;
  for (const auto &function : program.functions())
    changed |= sweep(function->body());
  return changed;
}

} // namespace plait::passes
