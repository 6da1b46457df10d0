// fuse-attention: finds scaled_dot_product_attention in its pieces.
//
//   %s = matmul(x = %q, y = %k, transpose_y = true)                 before: 0.125 is 1 / sqrt(64)
//   %t = mul(x = %s, y = 0.125)                                     for 64 features
//   %u = add(x = %t, y = %mask)
//   %w = softmax(x = %u, axis = -1)
//   %y = matmul(x = %w, y = %v)
//
//   %y = scaled_dot_product_attention(query = %q, key = %k,         after
//                                     value = %v, attn_mask = %mask)
//
// The scale may stand before the first product, or be a quotient; the mask may be missing. A scale
// of its own has no place in the operation. Where the queries are the result of a linear layer,
// what another scale lacks multiplies them, and goes into the layer's weight (fold-batch-norm);
// other attention of another scale stays. Nothing else may use what
// is in between: attention whose weights are a result keeps them. From ios18 on, as the operation.
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// GPUs compute the operation wrongly from this batch on (coremltools 2650).
constexpr int64_t kBatch = 10;

Op *onlyFor(Value *value, OpKind kind) {
  return value->hasOneUse() ? definedBy(value, kind) : nullptr;
}

bool flag(const Op &op, unsigned param) { return constBool(op[param]).value_or(false); }

/// What a multiplication by a number, or a division, is of; the number multiplies `scale`.
Value *withoutScale(Value *value, double &scale) {
  for (OpKind kind : {OpKind::mul, OpKind::real_div})
    if (Op *op = onlyFor(value, kind))
      for (unsigned side : {0, 1}) {
        const TensorData *number = constTensor((*op)[1 - side]);
        auto factor = number && number->numElements() == 1 ? splatValue(*number) : std::nullopt;
        if (!factor || *factor == 0 || !((*op)[side]->type == value->type) ||
            (kind == OpKind::real_div && side == 1))
          continue;
        scale *= kind == OpKind::mul ? *factor : 1 / *factor;
        return (*op)[side];
      }
  return value;
}

/// Whether queries can be multiplied by `factor` for nothing: fold-batch-norm takes a number that
/// multiplies a linear layer, behind what moves its result and behind other numbers. A large factor
/// might overflow in fp16.
bool mayMultiply(Value *queries, double factor) {
  constexpr double limit = 32;
  if (!(factor > 1 / limit && factor < limit))
    return false;
  double ignored = 1;
  while (Op *op = queries->hasOneUse() ? queries->def() : nullptr) {
    if (op->is(OpKind::linear))
      return constTensor((*op)[linear::weight]) != nullptr;
    bool moves = op->is(OpKind::reshape) || op->is(OpKind::transpose) ||
                 op->is(OpKind::expand_dims) || op->is(OpKind::squeeze);
    Value *source = moves ? (*op)[0] : withoutScale(queries, ignored);
    if (source == queries)
      return false;
    queries = source;
  }
  return false;
}

/// The operand that is added to scores of this type, and the scores.
std::optional<std::pair<Value *, Value *>> maskedScores(Value *value) {
  Op *op = onlyFor(value, OpKind::add);
  if (!op)
    return std::nullopt;
  for (unsigned side : {0, 1}) {
    double ignored = 1;
    Value *scores = (*op)[side];
    if (scores->type == value->type && onlyFor(withoutScale(scores, ignored), OpKind::matmul))
      return std::pair(scores, (*op)[1 - side]);
  }
  return std::nullopt;
}

/// The right operand of a matmul with its last two axes as `key` has them; null where a transpose
/// of its own would have to be added.
Value *keyOf(Op &product) {
  Value *y = product[matmul::y];
  if (flag(product, matmul::transpose_y))
    return y;
  Op *swap = definedBy(y, OpKind::transpose);
  auto perm = swap ? constInts((*swap)[transpose::perm]) : std::nullopt;
  if (!perm || perm->size() < 2)
    return nullptr;
  size_t rank = perm->size();
  std::swap((*perm)[rank - 1], (*perm)[rank - 2]);
  bool identity = llvm::all_of(llvm::enumerate(*perm), [&](auto it) {
    return normalAxis(it.value(), rank) == int64_t(it.index());
  });
  if (identity)
    return (*swap)[transpose::x];
  return Builder::before(swap).emit(
      OpKind::transpose,
      {{transpose::x, (*swap)[transpose::x]}, {transpose::perm, llvm::ArrayRef<int64_t>(*perm)}},
      swap->name);
}

/// The mask for each query; null where it is none for these scores.
Value *maskFor(Value *mask, llvm::ArrayRef<int64_t> scores, Op &op) {
  auto shape = staticShape(mask);
  size_t rank = scores.size();
  if (!shape || shape->size() < 2 || shape->size() > rank || shape->back() != scores[rank - 1])
    return nullptr;
  int64_t rows = (*shape)[shape->size() - 2];
  if (rows == scores[rank - 2])
    return mask;
  if (rows != 1)
    return nullptr;
  llvm::SmallVector<int64_t, 5> repeats(shape->size(), 1);
  repeats[shape->size() - 2] = scores[rank - 2];
  return Builder::before(&op).emit(
      OpKind::tile, {{tile::x, mask}, {tile::reps, llvm::ArrayRef<int64_t>(repeats)}});
}

bool fuse(Op &op) {
  namespace a = scaled_dot_product_attention;
  Op *weights = op.is(OpKind::matmul) ? onlyFor(op[matmul::x], OpKind::softmax) : nullptr;
  if (!weights || flag(op, matmul::transpose_x) || flag(op, matmul::transpose_y))
    return false;
  Value *scores = (*weights)[softmax::x], *mask = nullptr, *v = op[matmul::y];
  auto shape = staticShape(scores);
  if (!shape || shape->size() < 3 || !isFloat(scores->type.dtype()) ||
      normalAxis(constInt((*weights)[softmax::axis]).value_or(0), shape->size()) !=
          int64_t(shape->size()) - 1)
    return false;
  if (auto masked = maskedScores(scores))
    std::tie(scores, mask) = *masked;
  double scale = 1;
  Op *product = onlyFor(withoutScale(scores, scale), OpKind::matmul);
  if (!product || flag(*product, matmul::transpose_x))
    return false;
  Value *q = withoutScale((*product)[matmul::x], scale), *k = (*product)[matmul::y];
  auto queries = staticShape(q), keys = staticShape(k), values = staticShape(v);
  size_t rank = shape->size();
  if (!queries || !keys || !values || queries->size() != rank || keys->size() != rank ||
      values->size() != rank)
    return false;
  llvm::ArrayRef<int64_t> batch = llvm::ArrayRef(*queries).drop_back(2);
  if (batch.front() >= kBatch || llvm::ArrayRef(*keys).drop_back(2) != batch ||
      llvm::ArrayRef(*values).drop_back(2) != batch)
    return false;
  double factor = scale * std::sqrt(double(queries->back()));
  bool isOwn = std::abs(factor - 1) <= 1e-6;
  if (!isOwn && !mayMultiply(q, factor))
    return false;
  if (mask && !(mask = maskFor(mask, *shape, op)))
    return false;
  Value *key = keyOf(*product);
  if (!key)
    return false;
  if (!isOwn)
    q = Builder::before(&op).emit(OpKind::mul, {{mul::x, q}, {mul::y, factor}});
  Value *y = Builder::before(&op).emit(
      OpKind::scaled_dot_product_attention,
      {{a::query, q}, {a::key, key}, {a::value, v}, {a::attn_mask, mask}}, op.name);
  if (Builder::isPoison(y) || !(y->type == op.result()->type))
    return false;
  replaceOp(&op, y);
  return true;
}

} // namespace

bool fuseAttention(Program &program, PassContext &context) {
  bool changed = false;
  if (context.options.target < Opset::iOS18)
    return changed;
  walk(program, [&](Op &op) { changed |= fuse(op); });
  return changed;
}

} // namespace plait::passes
