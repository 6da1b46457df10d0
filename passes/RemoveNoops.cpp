// remove-noops: deletes operations that return what they are given.
//
//   %a = add(x = %x, y = 0)                     before
//   %b = reshape(x = %a, shape = [1, 4])        %x has shape [1, 4]
//
//   %x                                          after, for every use of %b
//
// What an elementwise operation takes repeated along axes of one element it takes as it is: it
// broadcasts.
//
// An output cannot be an input, a constant or another output. So an operation between such a value
// and an output stays. If it is a cast to the type that the value has, it becomes an identity: Core
// ML's own converter never writes such a cast.
#include "mil/Computation.h"
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

bool allEqual(const Value *ints, int64_t expected) {
  auto values = constInts(ints);
  return values && llvm::all_of(*values, [&](int64_t v) { return v == expected; });
}

bool isIota(llvm::ArrayRef<int64_t> values, unsigned rank) {
  for (auto [i, v] : llvm::enumerate(values))
    if (normalAxis(v, rank) != int64_t(i))
      return false;
  return true;
}

bool maskBit(const Value *mask, unsigned index) {
  auto bits = constInts(mask);
  return bits && index < bits->size() && (*bits)[index];
}

/// Whether the slice takes everything, for dynamic dimensions too.
bool takesAll(const Op &op) {
  namespace s = slice_by_index;
  auto begin = constInts(op[s::begin]), end = constInts(op[s::end]);
  if (op[s::stride] && !allEqual(op[s::stride], 1))
    return false;
  for (auto [i, size] : llvm::enumerate(op[s::x]->type.shape())) {
    if (maskBit(op[s::squeeze_mask], i))
      return false;
    bool fromStart = maskBit(op[s::begin_mask], i) || (begin && (*begin)[i] == 0);
    bool toEnd =
        maskBit(op[s::end_mask], i) || (end && size.isConst() && (*end)[i] >= size.value());
    if (!fromStart || !toEnd)
      return false;
  }
  return true;
}

/// Takes an operand as it is before it is repeated along axes of one element, where the other
/// operand has the repeated sizes: the operation broadcasts.
bool takesUnrepeated(Op &op) {
  bool changed = false;
  for (unsigned side : {0, 1}) {
    Op *repeat = definedBy(op[side], OpKind::tile);
    auto reps = repeat ? constInts((*repeat)[tile::reps]) : std::nullopt;
    if (!reps || !(op[1 - side]->type == op.result()->type) ||
        !(op[side]->type == op.result()->type))
      continue;
    Value *x = (*repeat)[tile::x];
    bool broadcasts = llvm::all_of(llvm::zip(*reps, x->type.shape()), [](auto pair) {
      return std::get<0>(pair) == 1 || std::get<1>(pair) == Dim(1);
    });
    if (!broadcasts)
      continue;
    op.set(side, x);
    eraseDead(repeat);
    changed = true;
  }
  return changed;
}

/// The operand that the operation returns unchanged, or null. Types are compared by the caller.
Value *returned(const Op &op) {
  switch (op.kind()) {
  case OpKind::identity:
    return op[identity::x];
  case OpKind::cast:
    return op[cast::x];
  case OpKind::reshape:
    return op[reshape::x];
  case OpKind::squeeze:
    return op[squeeze::x];
  case OpKind::expand_dims:
    return op[expand_dims::x];
  case OpKind::transpose: {
    auto perm = constInts(op[transpose::perm]);
    return perm && isIota(*perm, perm->size()) ? op[transpose::x] : nullptr;
  }
  case OpKind::slice_by_index:
    return takesAll(op) ? op[slice_by_index::x] : nullptr;
  case OpKind::slice_by_size:
    return allEqual(op[slice_by_size::begin], 0) ? op[slice_by_size::x] : nullptr;
  case OpKind::tile:
    return allEqual(op[tile::reps], 1) ? op[tile::x] : nullptr;
  case OpKind::pad:
    return allEqual(op[pad::pad], 0) ? op[pad::x] : nullptr;
  case OpKind::concat:
    return op.operands(concat::values).size() == 1 ? op[concat::values] : nullptr;
  case OpKind::split:
    return op.numResults() == 1 ? op[split::x] : nullptr;
  case OpKind::add:
    return isSplat(op[add::y], 0) ? op[add::x] : isSplat(op[add::x], 0) ? op[add::y] : nullptr;
  case OpKind::sub:
    return isSplat(op[sub::y], 0) ? op[sub::x] : nullptr;
  case OpKind::mul:
    return isSplat(op[mul::y], 1) ? op[mul::x] : isSplat(op[mul::x], 1) ? op[mul::y] : nullptr;
  case OpKind::real_div:
    return isSplat(op[real_div::y], 1) && isFloat(op[real_div::x]->type.dtype()) ? op[real_div::x]
                                                                                 : nullptr;
  case OpKind::pow:
    return isSplat(op[mil::pow::y], 1) ? op[mil::pow::x] : nullptr;
  case OpKind::select:
    if (op[mil::select::a] == op[mil::select::b] || isSplat(op[mil::select::cond], 1))
      return op[mil::select::a];
    return isSplat(op[mil::select::cond], 0) ? op[mil::select::b] : nullptr;
  case OpKind::logical_not: {
    Op *inner = definedBy(op[logical_not::x], OpKind::logical_not);
    return inner ? (*inner)[logical_not::x] : nullptr;
  }
  // Idempotent: the inner one is the result.
  case OpKind::relu:
  case OpKind::relu6:
  case OpKind::abs:
  case OpKind::floor:
  case OpKind::ceil:
  case OpKind::round:
  case OpKind::sign:
    if (definedBy(op[0], op.kind()))
      return op[0];
    if (op.is(OpKind::relu) &&
        (definedBy(op[0], OpKind::relu6) || definedBy(op[0], OpKind::sigmoid) ||
         definedBy(op[0], OpKind::softmax) || definedBy(op[0], OpKind::abs)))
      return op[0];
    return nullptr;
  case OpKind::reverse: {
    auto axes = constInts(op[reverse::axes]);
    return axes && axes->empty() ? op[reverse::x] : nullptr;
  }
  default:
    return nullptr;
  }
}

} // namespace

bool removeNoops(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.numResults() != 1)
      return;
    if (computes(op, Binary))
      changed |= takesUnrepeated(op);
    Value *same = returned(op);
    if (!same || !(same->type == op.result()->type))
      return;
    if (!op.result()->hasUses()) // an unused one is dce's
      return;
    if (!canReplace(op.result(), same)) {
      if (!op.is(OpKind::cast))
        return;
      Builder builder(*op.parent(), op.getIterator());
      builder.setLocation(op.location);
      same = builder.emit(OpKind::identity, {{identity::x, same}}, op.result()->name);
    }
    replaceOp(&op, same);
    changed = true;
  });
  return changed;
}

} // namespace plait::passes
