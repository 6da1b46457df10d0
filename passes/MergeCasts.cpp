// merge-casts: makes one of a chain of casts.
//
//   %a = cast(x = %x, dtype = "fp32")           before: %x is fp16
//   %b = cast(x = %a, dtype = "fp16")
//
//   %x                                          after, for every use of %b
//
// The first cast may go if it keeps every value (fp16 to fp32, bool to anything …): the last one
// alone then gives the same. fold-constants folds casts of constants.
#include "passes/Match.h"
#include "passes/Rewrite.h"

namespace plait::passes {

using namespace mil;

/// Casting to `middle` and on to `last` gives what casting to `last` at once gives.
static bool mayLeaveOut(DType first, DType middle, DType last) {
  if (first == middle)
    return true;
  if (isFloat(first))
    return isFloat(middle) && bitWidth(middle) > bitWidth(first);
  if (first == DType::Bool)
    return middle != DType::String;
  if (isFloat(middle)) {
    // Integers that fp32 does not hold exactly are beyond fp16's range, where both give infinity.
    bool exact = bitWidth(first) <= (middle == DType::F16 ? 8 : 16);
    return exact || (middle == DType::F32 && last == DType::F16);
  }
  return isInteger(middle) && bitWidth(middle) > bitWidth(first) &&
         (isUnsigned(first) || !isUnsigned(middle));
}

bool mergeCasts(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (!op.is(OpKind::cast))
      return;
    Value *result = op.result();
    Value *source = op[cast::x];
    while (Op *inner = definedBy(source, OpKind::cast)) {
      Value *next = (*inner)[cast::x];
      if (!mayLeaveOut(next->type.dtype(), source->type.dtype(), result->type.dtype()))
        break;
      source = next;
    }
    if (source == op[cast::x])
      return;
    if (source->type.dtype() == result->type.dtype() && canReplace(result, source)) {
      replaceOp(&op, source);
      changed = true;
      return;
    }
    Op *inner = op[cast::x]->def();
    op.set(cast::x, source);
    eraseDead(inner);
    changed = true;
  });
  return changed;
}

} // namespace plait::passes
