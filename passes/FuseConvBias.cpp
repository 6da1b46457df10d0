// fuse-conv-bias: takes a constant added per channel as the bias of a convolution.
//
//   %a = conv(x = %x, weight = const W)         before
//   %b = add(x = %a, y = const b [1, C, 1, 1])
//
//   %b = conv(x = %x, weight = const W, bias = const b [C])   after
//
// For conv and conv_transpose, add and subtraction of a constant; an existing bias is added to.
#include "passes/Match.h"
#include "passes/Rewrite.h"

namespace plait::passes {

using namespace mil;

bool fuseConvBias(Program &program, PassContext &context) {
  static_assert(unsigned(conv::bias) == unsigned(conv_transpose::bias) &&
                unsigned(conv::weight) == unsigned(conv_transpose::weight));
  bool changed = false;
  walk(program, [&](Op &op) {
    if (!op.is(OpKind::add) && !op.is(OpKind::sub))
      return;
    for (unsigned side : {0, 1}) {
      Op *producer = definedBy(op[side], OpKind::conv);
      if (!producer)
        producer = definedBy(op[side], OpKind::conv_transpose);
      if (!producer || !producer->result()->hasOneUse() || (op.is(OpKind::sub) && side == 1) ||
          !(producer->result()->type == op.result()->type))
        continue;
      Value *before = (*producer)[conv::bias];
      auto bias = addToBias(before, op[1 - side], op.is(OpKind::sub), op.result()->type.shape(), 1,
                            context);
      if (!bias || bias->dtype() != (*producer)[conv::weight]->type.dtype())
        continue;
      producer->set(conv::bias, derivedConstant(producer, *bias, op[1 - side]));
      if (before && before->def())
        eraseDead(before->def());
      replaceOp(&op, producer->result());
      changed = true;
      return;
    }
  });
  return changed;
}

} // namespace plait::passes
