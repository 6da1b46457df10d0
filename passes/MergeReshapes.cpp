// merge-reshapes: makes one of a chain of reshape, squeeze and expand_dims.
//
//   %a = reshape(x = %x, shape = [4, 6])        before
//   %b = expand_dims(x = %a, axes = [0])
//
//   %b = reshape(x = %x, shape = [1, 4, 6])     after
//
// The result must have a static shape. If it has the shape of %x, it is %x itself. A chain of
// squeezes or of expand_dims becomes a reshape as well.
#include "passes/Match.h"
#include "passes/Rewrite.h"

namespace plait::passes {

using namespace mil;

static Value *reshapedFrom(const Value *value) {
  for (OpKind kind : {OpKind::reshape, OpKind::squeeze, OpKind::expand_dims})
    if (Op *op = definedBy(value, kind))
      return (*op)[0];
  return nullptr;
}

bool mergeReshapes(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.numResults() != 1 || !op.result()->hasUses() || !reshapedFrom(op.result()))
      return;
    Value *source = op[0];
    while (Value *next = reshapedFrom(source))
      source = next;
    if (source == op[0])
      return;
    Value *result = op.result();
    if (source->type == result->type && canReplace(result, source)) {
      replaceOp(&op, source);
      changed = true;
      return;
    }
    auto shape = staticShape(result);
    // A scalar cannot be the target of a reshape.
    if (!shape || shape->empty() || !staticShape(source))
      return;
    Builder builder = Builder::before(&op);
    replaceOp(&op,
              builder.emit(OpKind::reshape, {{reshape::x, source},
                                             {reshape::shape, llvm::ArrayRef<int64_t>(*shape)}}));
    changed = true;
  });
  return changed;
}

} // namespace plait::passes
