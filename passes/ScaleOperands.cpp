// scale-operands: makes products small before they are computed.
//
//   %s = matmul(x = %q, y = %k)                  before: a score of 64 features of 40 is 102400
//   %y = mul(x = %s, y = 0.125)
//
//   %p = mul(x = %q, y = 0.125)                  after
//   %y = matmul(x = %p, y = %k)
//
// The smaller operand is scaled. With fp16 alone: there the product may overflow where the scaled
// one does not. A linear before the operand then takes the scale into its weight (fold-batch-norm).
//
//   %a = mul(x = %w, y = %h)                     before: the area of a box of 300 by 300 pixels
//   %y = sqrt(x = %a)
//
//   %u = sqrt(x = abs(x = %w))                   after: a product is negative where one of its
//   %s = mul(x = %h, y = sign(x = %w))           factors is
//   %v = sqrt(x = %s)
//   %y = mul(x = %u, y = %v)
#include "passes/Match.h"
#include "passes/Rewrite.h"

namespace plait::passes {

using namespace mil;

namespace {

/// Elements of an operand; sizes that are not known count as their lower bounds.
double elementsOf(const Value *value) {
  double count = 1;
  for (const Dim &size : value->type.shape())
    count *= double(std::max<int64_t>(1, size.lower()));
  return count;
}

/// A scalar that makes what it is multiplied with smaller.
std::optional<double> shrinking(const Op &op, const Value *product) {
  const Value *other = op[0] == product ? op[1] : op[0];
  auto factor = splatValue(other);
  if (!factor || other->type.rank() != 0)
    return std::nullopt;
  if (op.is(OpKind::real_div)) {
    if (op[0] != product || *factor == 0)
      return std::nullopt;
    factor = 1 / *factor;
  }
  bool shrinks = std::abs(*factor) < 1 && *factor != 0;
  return shrinks ? factor : std::nullopt;
}

/// The root of a product as the product of roots; false where that would not help: something else
/// reads the product, or a factor is known or a sign.
bool splitRoot(Op &root) {
  Op *product = definedBy(root[sqrt::x], OpKind::mul);
  if (!product || !product->result()->hasOneUse() || product->result()->type.dtype() != DType::F32)
    return false;
  Value *x = (*product)[mul::x], *y = (*product)[mul::y];
  if (x == y || isCompileTime(x) || isCompileTime(y) || definedBy(x, OpKind::sign) ||
      definedBy(y, OpKind::sign))
    return false;
  Builder builder = Builder::before(&root);
  builder.setLocation(product->location);
  Value *size = builder.emit(OpKind::abs, {{abs::x, x}});
  Value *sign = builder.emit(OpKind::sign, {{sign::x, x}});
  Value *rest = builder.emit(OpKind::mul, {{mul::x, y}, {mul::y, sign}});
  Value *first = builder.emit(OpKind::sqrt, {{sqrt::x, size}});
  Value *second = builder.emit(OpKind::sqrt, {{sqrt::x, rest}});
  builder.setLocation(root.location);
  replaceOp(&root, builder.emit(OpKind::mul, {{mul::x, first}, {mul::y, second}}));
  return true;
}

} // namespace

bool scaleOperands(Program &program, PassContext &context) {
  bool changed = false;
  if (context.options.precision != Precision::F16)
    return changed;
  walk(program, [&](Op &op) {
    if (op.is(OpKind::sqrt)) {
      changed |= splitRoot(op);
      return;
    }
    if (!op.is(OpKind::mul) && !op.is(OpKind::real_div))
      return;
    for (unsigned side : {0u, 1u}) {
      Op *product = definedBy(op[side], OpKind::matmul);
      if (!product || !product->result()->hasOneUse() ||
          !(product->result()->type == op.result()->type) ||
          product->result()->type.dtype() != DType::F32)
        continue;
      auto factor = shrinking(op, product->result());
      Value *x = (*product)[matmul::x], *y = (*product)[matmul::y];
      if (!factor || isCompileTime(x) || isCompileTime(y))
        continue;
      bool first = elementsOf(x) <= elementsOf(y);
      Builder builder = Builder::before(product);
      builder.setLocation(op.location);
      Value *scaled = builder.emit(OpKind::mul, {{mul::x, first ? x : y}, {mul::y, *factor}});
      product->set(first ? unsigned(matmul::x) : unsigned(matmul::y), scaled);
      replaceOp(&op, product->result());
      changed = true;
      return;
    }
  });
  return changed;
}

} // namespace plait::passes
