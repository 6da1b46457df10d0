// simplify-arithmetic: merges chains of constant factors and terms, divides by multiplying.
//
//   %a = real_div(x = %x, y = 8.0)              before
//   %b = mul(x = %a, y = 0.5)
//
//   %b = mul(x = %x, y = 0.0625)                after
//
// Floats only. Two factors merge if one of them is a scalar, two terms if both are. The inner
// result must have no other use. pow(x, 0.5) becomes sqrt(x).
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

std::optional<double> scalarValue(const Value *value) {
  const TensorData *tensor = constTensor(value);
  return tensor && tensor->numElements() == 1 ? splatValue(*tensor) : std::nullopt;
}

/// x / c as x * (1 / c), for a small c without zeros; null when it is not that.
Value *asProduct(Op &op) {
  namespace d = real_div;
  const TensorData *divisor = constTensor(op[d::y]);
  if (!divisor || !isFloat(divisor->dtype()) || constTensor(op[d::x]))
    return nullptr;
  std::vector<double> values;
  llvm::ArrayRef<int64_t> shape = divisor->shape();
  if (std::optional<double> same = splatValue(*divisor); same && divisor->numElements() == 1)
    values = {*same};
  else if (divisor->byteSize() <= kSmallBytes) {
    auto read = divisor->floatValues();
    if (!read) {
      llvm::consumeError(read.takeError());
      return nullptr;
    }
    values = std::move(*read);
  } else {
    return nullptr;
  }
  if (llvm::is_contained(values, 0.0))
    return nullptr;
  for (double &v : values)
    v = 1 / v;
  Builder builder = Builder::before(&op);
  Value *factor = builder.constant(floats(divisor->dtype(), shape, values), op.name + "_factor");
  return builder.emit(OpKind::mul, {{mul::x, op[d::x]}, {mul::y, factor}});
}

/// The variable and the constant operand of an addition or multiplication.
std::optional<std::pair<Value *, Value *>> split(Op *op) {
  Value *x = (*op)[0], *y = (*op)[1];
  if (constTensor(x))
    std::swap(x, y);
  if (constTensor(x) || !constTensor(y) || !isFloat(x->type.dtype()))
    return std::nullopt;
  return std::pair(x, y);
}

/// (x * a) * b as x * (a b), one of a and b a scalar.
Value *mergeFactors(Op &op, PassContext &context) {
  auto outer = split(&op);
  Op *innerOp = outer ? definedBy(outer->first, OpKind::mul) : nullptr;
  if (!innerOp || !innerOp->result()->hasOneUse())
    return nullptr;
  auto inner = split(innerOp);
  if (!inner)
    return nullptr;
  const TensorData *a = constTensor(inner->second), *b = constTensor(outer->second);
  if (!scalarValue(inner->second))
    std::swap(a, b);
  std::optional<double> scalar = a->numElements() == 1 ? splatValue(*a) : std::nullopt;
  // The scalar's rank must not be what gives the result its own.
  if (!scalar || a->rank() > std::max<size_t>(b->rank(), inner->first->type.rank()))
    return nullptr;
  TensorData product = b->numElements() == 1 && splatValue(*b)
                           ? floats(b->dtype(), b->shape(), {*scalar * *splatValue(*b)},
                                    computedFrom({inner->second, outer->second}))
                           : b->scale(*scalar);
  Builder builder = Builder::before(&op);
  Value *factor = builder.constant(product, op.name + "_factor");
  return builder.emit(OpKind::mul, {{mul::x, inner->first}, {mul::y, factor}});
}

/// (x + a) + b as x + (a + b), both scalars; sub counts as adding the negative.
Value *mergeTerms(Op &op) {
  auto term = [](Op *op) -> std::optional<std::pair<Value *, double>> {
    auto parts = split(op);
    if (!parts || (op->is(OpKind::sub) && parts->second != (*op)[1]))
      return std::nullopt;
    auto value = scalarValue(parts->second);
    if (!value || constTensor(parts->second)->rank() > parts->first->type.rank())
      return std::nullopt;
    return std::pair(parts->first, op->is(OpKind::sub) ? -*value : *value);
  };
  auto outer = term(&op);
  Op *innerOp = outer ? outer->first->def() : nullptr;
  if (!innerOp || !(innerOp->is(OpKind::add) || innerOp->is(OpKind::sub)) ||
      !outer->first->hasOneUse())
    return nullptr;
  auto inner = term(innerOp);
  if (!inner)
    return nullptr;
  Builder builder = Builder::before(&op);
  Value *sum = builder.constant(
      floats(inner->first->type.dtype(), {}, {inner->second + outer->second}), op.name + "_term");
  return builder.emit(OpKind::add, {{add::x, inner->first}, {add::y, sum}});
}

Value *simplified(Op &op, PassContext &context) {
  switch (op.kind()) {
  case OpKind::real_div:
    return asProduct(op);
  case OpKind::mul:
    return mergeFactors(op, context);
  case OpKind::add:
  case OpKind::sub:
    return mergeTerms(op);
  case OpKind::pow:
    if (isFloat(op[0]->type.dtype()) && isSplat(op[mil::pow::y], 0.5) &&
        op[mil::pow::x]->type == op.result()->type)
      return Builder::before(&op).emit(OpKind::sqrt, {{mil::sqrt::x, op[mil::pow::x]}});
    return nullptr;
  default:
    return nullptr;
  }
}

} // namespace

bool simplifyArithmetic(Program &program, PassContext &context) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.numResults() != 1 || !op.result()->hasUses())
      return;
    Value *better = simplified(op, context);
    if (!better)
      return;
    assert(better->type == op.result()->type);
    replaceOp(&op, better);
    changed = true;
  });
  return changed;
}

} // namespace plait::passes
