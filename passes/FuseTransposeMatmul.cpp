// fuse-transpose-matmul: turns a transpose before a matmul into its flag.
//
//   %t = transpose(x = %k, perm = [0, 1, 3, 2]) before
//   %y = matmul(x = %q, y = %t, transpose_x = false, transpose_y = false)
//
//   %y = matmul(x = %q, y = %k, transpose_x = false, transpose_y = true)   after
#include "passes/Match.h"
#include "passes/Rewrite.h"

namespace plait::passes {

using namespace mil;

/// The operand, if `value` is a transpose of the last two axes; else null.
static Value *swapped(const Value *value) {
  Op *op = definedBy(value, OpKind::transpose);
  auto perm = op ? constInts((*op)[transpose::perm]) : std::nullopt;
  if (!perm || perm->size() < 2)
    return nullptr;
  int64_t rank = perm->size();
  for (int64_t i = 0; i < rank; ++i) {
    int64_t expected = i == rank - 1 ? rank - 2 : i == rank - 2 ? rank - 1 : i;
    if (normalAxis((*perm)[i], rank) != expected)
      return nullptr;
  }
  return (*op)[transpose::x];
}

bool fuseTransposeMatmul(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (!op.is(OpKind::matmul))
      return;
    for (auto [operand, flag] :
         {std::pair(matmul::x, matmul::transpose_x), std::pair(matmul::y, matmul::transpose_y)}) {
      Value *source = swapped(op[operand]);
      auto before = constBool(op[flag]);
      if (!source || !before)
        continue;
      Op *old = op[operand]->def(), *oldFlag = op[flag]->def();
      op.set(operand, source);
      op.set(flag, Builder::before(&op).constant(Attr::boolean(!*before), op[flag]->name));
      eraseDead(old);
      eraseDead(oldFlag);
      changed = true;
    }
  });
  return changed;
}

} // namespace plait::passes
