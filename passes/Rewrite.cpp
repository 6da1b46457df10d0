// Use lists, names and dead operations.
#include "passes/Rewrite.h"

#include "mil/Infer.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

/// Operations between two questions: a few milliseconds at most.
static constexpr unsigned kAskedEvery = 64;

static thread_local const std::function<bool()> *mayWalk = nullptr;

WalkScope::WalkScope(const std::function<bool()> &proceed)
    : outer_(std::exchange(mayWalk, proceed ? &proceed : nullptr)) {}
WalkScope::~WalkScope() { mayWalk = outer_; }

void mayGoOn() {
  if (mayWalk && !(*mayWalk)())
    throw WalkEnded();
}

void walk(Program &program, llvm::function_ref<void(Op &)> callback) {
  unsigned seen = 0;
  for (const auto &function : program.functions())
    mil::walk(function->body(), [&](Op &op) {
      if (++seen % kAskedEvery == 0)
        mayGoOn();
      callback(op);
    });
}

/// The block whose terminator returns the value; null when none does.
static const Block *returningBlock(const Value *value) {
  for (Operand &use : value->uses())
    if (use.owner()->isTerminator())
      return use.owner()->parent();
  return nullptr;
}

bool canReplace(const Value *from, const Value *to) {
  if (from == to)
    return false;
  const Block *block = returningBlock(from);
  if (!block)
    return true;
  if (block->parentOp())
    return to->def() && to->block() == block;
  return to->def() && !isCompileTime(to) && !returningBlock(to) && to->block() == block;
}

void replaceUses(Value *from, Value *to) {
  assert(canReplace(from, to));
  const Block *block = returningBlock(from);
  if ((block && !block->parentOp()) || (!to->hasUses() && to->def())) {
    std::swap(from->name, to->name);
    if (from->def() && to->def())
      std::swap(from->def()->name, to->def()->name);
  }
  from->replaceAllUsesWith(to);
}

bool isRemovable(const Op &op) {
  if (op.info().traits & Effect)
    return false;
  for (const auto &block : op.blocks())
    for (const Op &inner : *block)
      if (!isRemovable(inner))
        return false;
  return true;
}

bool eraseDead(Op *op) {
  llvm::SmallVector<Op *, 8> work{op};
  bool erased = false;
  while (!work.empty()) {
    Op *dead = work.pop_back_val();
    if (!dead->isUnused() || !isRemovable(*dead)) {
      if (dead == op)
        return false;
      continue;
    }
    llvm::SmallVector<Op *, 4> sources;
    for (Operand &operand : dead->operands())
      if (Op *source = operand->def(); source && !llvm::is_contained(sources, source))
        sources.push_back(source);
    dead->erase();
    erased = true;
    // A source still on the list was put there by another user of it: it goes once.
    for (Op *source : sources)
      if (source->isUnused() && !llvm::is_contained(work, source))
        work.push_back(source);
  }
  return erased;
}

void replaceOp(Op *op, Value *with) {
  assert(op->numResults() == 1);
  replaceUses(op->result(), with);
  eraseDead(op);
}

Value *derivedConstant(Op *op, TensorData value, Value *from) {
  Value *made = Builder::before(op).constant(std::move(value), from->name);
  if (from->hasOneUse() && from->def()) {
    std::swap(made->name, from->name);
    std::swap(made->def()->name, from->def()->name);
  }
  return made;
}

Op *firstOf(llvm::ArrayRef<Op *> ops, Op &last) {
  size_t found = 0;
  for (auto it = last.getIterator();; --it) {
    found += llvm::is_contained(ops, &*it);
    if (found == ops.size())
      return &*it;
    if (it == last.parent()->begin())
      return nullptr;
  }
}

const Location &interfaceLocation() {
  static const Location location(Name(), Name(), "the function's interface");
  return location;
}

bool retype(Op *op) {
  auto types = inferTypes(*op);
  if (!types) {
    llvm::consumeError(types.takeError());
    return false;
  }
  for (auto [result, type] : llvm::zip(op->results(), *types))
    result->type = type;
  return true;
}

} // namespace plait::passes
