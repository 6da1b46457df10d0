// fuse-reductions: finds reduce_sum_square and reduce_l2_norm in their pieces.
//
//   %q = square(x = %x)                                             before
//   %s = reduce_sum(x = %q, axes = [1], keep_dims = true)
//   %n = sqrt(x = %s)
//
//   %n = reduce_l2_norm(x = %x, axes = [1], keep_dims = true)       after
//
// And of means, whose squares would overflow in fp16 where the mean does not:
//
//   sqrt(reduce_mean(square(%x)))        reduce_l2_norm(%x) * n^-0.5
//   reduce_mean(square(%x))              square(reduce_l2_norm(%x) * n^-0.5)     with fp16 only
//
// A square that something else uses stays, and so does the sum of it.
#include "passes/Match.h"
#include "passes/Rewrite.h"

namespace plait::passes {

using namespace mil;

namespace {

/// What is squared, where nothing else takes the square.
Value *squaredOnce(Value *square) {
  Captures c{};
  auto operand = value(0);
  if (!square->hasOneUse() ||
      !match(square,
             either(unary(OpKind::square, operand), either(binary(OpKind::mul, operand, operand),
                                                           binary(OpKind::pow, operand, splat(2)))),
             c))
    return nullptr;
  return c[0]->type.isTensor() && c[0]->type == square->type && isFloat(c[0]->type.dtype())
             ? c[0]
             : nullptr;
}

/// The number of elements that go into one of the result.
std::optional<int64_t> reducedElements(const Op &reduction) {
  const Value *x = reduction[reduce_mean::x];
  auto axes = constInts(reduction[reduce_mean::axes]);
  if (!axes)
    return std::nullopt;
  int64_t count = 1;
  for (int64_t axis : *axes) {
    const Dim &size = x->type.shape()[size_t(normalAxis(axis, x->type.rank()))];
    if (!size.isConst())
      return std::nullopt;
    count *= size.value();
  }
  return count;
}

/// The reductions have the same parameters.
Value *reduceLike(Builder &builder, OpKind kind, Value *x, const Op &like) {
  return builder.emit(kind, {{reduce_mean::x, x},
                             {reduce_mean::axes, like[reduce_mean::axes]},
                             {reduce_mean::keep_dims, like[reduce_mean::keep_dims]}});
}

Value *rootMeanSquare(Builder &builder, Value *x, const Op &mean, int64_t count) {
  Value *norm = reduceLike(builder, OpKind::reduce_l2_norm, x, mean);
  return builder.emit(OpKind::mul, {{mul::x, norm}, {mul::y, 1 / std::sqrt(double(count))}});
}

/// sqrt of a sum or mean of squares.
Value *normFor(Op &root) {
  Value *sum = root[sqrt::x];
  Op *reduction = sum->def();
  if (!reduction || !sum->hasOneUse())
    return nullptr;
  Builder builder = Builder::before(&root);
  if (reduction->is(OpKind::reduce_sum_square))
    return reduceLike(builder, OpKind::reduce_l2_norm, (*reduction)[reduce_sum_square::x],
                      *reduction);
  if (!reduction->is(OpKind::reduce_mean))
    return nullptr;
  Value *x = squaredOnce((*reduction)[reduce_mean::x]);
  auto count = reducedElements(*reduction);
  return x && count ? rootMeanSquare(builder, x, *reduction, *count) : nullptr;
}

} // namespace

bool fuseReductions(Program &program, PassContext &context) {
  bool changed = false;
  auto replace = [&](Op &op, Value *with) {
    if (with) {
      replaceOp(&op, with);
      changed = true;
    }
  };
  walk(program, [&](Op &op) {
    if (op.is(OpKind::reduce_sum)) {
      if (Value *x = squaredOnce(op[reduce_sum::x])) {
        Builder builder = Builder::before(&op);
        replace(op, reduceLike(builder, OpKind::reduce_sum_square, x, op));
      }
    } else if (op.is(OpKind::sqrt)) {
      replace(op, normFor(op));
    }
  });
  if (context.options.precision != Precision::F16)
    return changed;
  walk(program, [&](Op &op) { // means whose root is not taken
    if (!op.is(OpKind::reduce_mean))
      return;
    Value *x = squaredOnce(op[reduce_mean::x]);
    auto count = reducedElements(op);
    if (!x || !count)
      return;
    Builder builder = Builder::before(&op);
    replace(op,
            builder.emit(OpKind::square, {{square::x, rootMeanSquare(builder, x, op, *count)}}));
  });
  return changed;
}

} // namespace plait::passes
