// dce: deletes operations whose results nobody uses.
//
//   %a = relu(x = %x)                           before
//   %b = tanh(x = %x)
//   -> (%b)
//
//   %b = tanh(x = %x)                           after
//   -> (%b)
//
// Writes to states and lists stay, and so do control-flow operations that contain one.
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

// Backwards, so that a user goes before what it uses: one visit an operation.
static bool sweep(Block &block) {
  bool changed = false;
  for (auto it = block.end(); it != block.begin();) {
    Op &op = *--it;
    if (op.isUnused() && isRemovable(op)) {
      ++it;
      op.erase();
      changed = true;
      continue;
    }
    for (const auto &inner : op.blocks())
      changed |= sweep(*inner);
  }
  return changed;
}

bool dce(Program &program, PassContext &) {
  bool changed = false;
  for (const auto &function : program.functions())
    changed |= sweep(function->body());
  return changed;
}

} // namespace plait::passes
