// merge-reshapes: makes one of a chain of reshape, squeeze and expand_dims.
//
//   %a = reshape(x = %x, shape = [4, 6])        before
//   %b = expand_dims(x = %a, axes = [0])
//
//   %b = reshape(x = %x, shape = [1, 4, 6])     after
//
// If the result has the shape of %x, it is %x itself. A chain of squeezes or of expand_dims becomes
// a reshape as well. Of sizes that are not known the last reshape must state what it wants, or one
// may be left to it.
#include "mil/Infer.h"
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

static Value *reshapedFrom(const Value *value) {
  for (OpKind kind : {OpKind::reshape, OpKind::squeeze, OpKind::expand_dims})
    if (Op *op = definedBy(value, kind))
      return (*op)[0];
  return nullptr;
}

/// The reshape asks for the same of any tensor of as many elements: it copies no size of its
/// operand, as it does where it reads 0.
static bool statesShape(const Op &op) {
  auto sizes = op.is(OpKind::reshape) ? dimValues(op[reshape::shape]) : std::nullopt;
  return sizes && llvm::all_of(*sizes, [](const Dim &d) { return d == Dim(-1) || d.lower() >= 1; });
}

bool mergeReshapes(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.numResults() != 1 || !op.result()->hasUses() || !reshapedFrom(op.result()))
      return;
    Value *source = op[0];
    bool reshapes = op.is(OpKind::reshape);
    while (Value *next = reshapedFrom(source)) {
      reshapes |= source->def()->is(OpKind::reshape);
      source = next;
    }
    if (source == op[0])
      return;
    Value *result = op.result();
    if (source->type == result->type && canReplace(result, source)) {
      replaceOp(&op, source);
      changed = true;
      return;
    }
    // A scalar cannot be the target of a reshape, and 1s alone come and go at any size.
    if (result->type.rank() == 0 || (!reshapes && !staticShape(result)))
      return;
    if (statesShape(op)) {
      Op *between = op[0]->def();
      op.set(reshape::x, source);
      eraseDead(between);
      changed = true;
      return;
    }
    llvm::SmallVector<int64_t, 6> sizes;
    for (const Dim &dim : result->type.shape())
      sizes.push_back(dim.tryValue().value_or(-1));
    if (llvm::count(sizes, -1) > 1 || llvm::is_contained(sizes, 0))
      return;
    Builder builder = Builder::before(&op);
    Value *merged = builder.emit(
        OpKind::reshape, {{reshape::x, source}, {reshape::shape, llvm::ArrayRef<int64_t>(sizes)}});
    merged->type = result->type;
    replaceOp(&op, merged);
    changed = true;
  });
  return changed;
}

} // namespace plait::passes
