// fold-negations: takes the sign of a part of a tensor into the factor that multiplies the whole.
//
//   %n = mul(x = %b, y = -1)                                    before: the half turn of rotary
//   %c = concat(values = (%n, %a), axis = 3)                    embeddings
//   %d = mul(x = %c, y = const s)
//
//   %c = concat(values = (%b, %a), axis = 3)                    after: the first half of s' is that
//   %d = mul(x = %c, y = const s')                              of s negated
//
// Signs are exact in every precision. A factor that is computed takes a multiplication of its own,
// once for all that it multiplies: so at least two must gain by it.
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// What is negated; null where it is nothing that is only negated for `user`.
Value *negated(Value *value) {
  Op *op = value->hasOneUse() ? definedBy(value, OpKind::mul) : nullptr;
  if (!op || !isFloat(value->type.dtype()))
    return nullptr;
  for (unsigned side : {0, 1}) {
    const TensorData *factor = constTensor((*op)[1 - side]);
    if (factor && factor->numElements() == 1 && splatValue(*factor) == -1.0 &&
        (*op)[side]->type == value->type)
      return (*op)[side];
  }
  return nullptr;
}

struct Turn {
  Op *join;      ///< the concat
  Value *factor; ///< what multiplies it
  unsigned axis; ///< of the factor: that of the concat
  std::vector<double> signs;
};

/// The concat behind `op` of which pieces are negated.
std::optional<Turn> turnOf(Op &op) {
  if (!op.is(OpKind::mul))
    return std::nullopt;
  for (unsigned side : {0, 1}) {
    Op *join = op[side]->hasOneUse() ? definedBy(op[side], OpKind::concat) : nullptr;
    Value *factor = op[1 - side];
    auto shape = join ? staticShape(op[side]) : std::nullopt, sizes = staticShape(factor);
    auto axis = shape ? constInt((*join)[concat::axis]) : std::nullopt;
    if (!axis || !sizes || constBool((*join)[concat::interleave]) != false)
      continue;
    // Broadcasting counts axes from the last.
    int64_t along = normalAxis(*axis, shape->size()),
            own = along - int64_t(shape->size()) + int64_t(sizes->size());
    if (own < 0 || (*sizes)[own] != (*shape)[along])
      continue;
    Turn turn{join, factor, unsigned(own), {}};
    for (Value *piece : join->operands(concat::values))
      turn.signs.insert(turn.signs.end(), piece->type.shape()[along].value(),
                        negated(piece) ? -1.0 : 1.0);
    if (llvm::is_contained(turn.signs, -1.0))
      return turn;
  }
  return std::nullopt;
}

/// The products by the factor, in this block, that take these signs.
llvm::SmallVector<Op *, 4> takersOf(const Turn &turn, const Block *block) {
  llvm::SmallVector<Op *, 4> takers;
  for (Op *user : turn.factor->users()) {
    auto other = user->parent() == block ? turnOf(*user) : std::nullopt;
    if (other && other->factor == turn.factor && other->signs == turn.signs)
      takers.push_back(user);
  }
  return takers;
}

/// The product without negations, by another factor.
void multiplyBy(Op &product, const Turn &turn, Value *factor) {
  llvm::SmallVector<Value *, 4> pieces;
  llvm::SmallVector<Op *, 4> negations;
  for (Value *piece : turn.join->operands(concat::values)) {
    Value *source = negated(piece);
    pieces.push_back(source ? source : piece);
    if (source)
      negations.push_back(piece->def());
  }
  turn.join->set(concat::values, pieces);
  for (Op *negation : negations)
    eraseDead(negation);
  product.set(product[0] == turn.factor ? 0 : 1, factor);
}

bool foldInto(Op &op, PassContext &context) {
  auto turn = turnOf(op);
  if (!turn)
    return false;
  Value *factor = turn->factor;
  llvm::SmallVector<int64_t, 5> shape(factor->type.rank() - turn->axis, 1);
  shape[0] = int64_t(turn->signs.size());
  TensorData signs = floats(factor->type.dtype(), shape, turn->signs);
  if (const TensorData *constant = constTensor(factor)) {
    multiplyBy(op, *turn, derivedConstant(&op, multiply(*constant, signs, context), factor));
    return true;
  }
  auto takers = takersOf(*turn, op.parent());
  Op *first = takers.size() < 2 ? nullptr : firstOf(takers, op);
  if (!first)
    return false;
  Builder builder = Builder::before(first);
  Value *turned = builder.emit(OpKind::mul, {{mul::x, factor}, {mul::y, builder.constant(signs)}});
  for (Op *taker : takers)
    multiplyBy(*taker, *turnOf(*taker), turned);
  return true;
}

} // namespace

bool foldNegations(Program &program, PassContext &context) {
  bool changed = false;
  walk(program, [&](Op &op) { changed |= foldInto(op, context); });
  return changed;
}

} // namespace plait::passes
