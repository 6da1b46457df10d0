// fuse-hypot: writes the square of a length as the sum of squares that it is.
//
//   %a = abs(x = %x)                               before: abs().pow(2) of a complex tensor, whose
//   %b = abs(x = %y)                               length is computed without squares of x and y
//   %l = maximum(x = %a, y = %b)
//   %s = minimum(x = %a, y = %b)
//   %d = maximum(x = %l, y = 1e-7)
//   %r = real_div(x = %s, y = %d)
//   %q = square(x = %r)
//   %o = add(x = %q, y = 1)
//   %t = sqrt(x = %o)
//   %h = mul(x = %l, y = %t)
//   %p = square(x = %h)
//
//   %u = square(x = %x)                            after
//   %v = square(x = %y)
//   %p = add(x = %u, y = %v)
//
// The square overflows and vanishes where the sum of squares does. A length that something else
// uses stays.
#include "passes/Match.h"
#include "passes/Rewrite.h"

namespace plait::passes {

using namespace mil;

namespace {

enum Slot : unsigned { X, Y, LongLeg, Ratio };

/// `v`, or `v` kept from 0 by a number too small to change a quotient.
template <typename V> auto keptFromZero(V v) {
  auto tiny = [](Value *number, Captures &) {
    std::optional<double> found = splatValue(number);
    return found && *found >= 0 && *found <= 1e-6;
  };
  auto huge = [](Value *number, Captures &) {
    std::optional<double> found = splatValue(number);
    return found && *found >= 1e30;
  };
  auto kept = commutative(OpKind::maximum, v, tiny);
  auto clipped = [=](Value *value, Captures &c) {
    Op *clip = definedBy(value, OpKind::clip);
    return clip && match((*clip)[clip::x], v, c) && match((*clip)[clip::alpha], tiny, c) &&
           match((*clip)[clip::beta], huge, c);
  };
  return either(v, either(kept, either(clipped, commutative(OpKind::minimum, kept, huge))));
}

/// What is squared, where nothing else takes it.
Value *squaredOnce(Op &op) {
  bool isSquare = op.is(OpKind::square) || (op.is(OpKind::mul) && op[mul::x] == op[mul::y]);
  Value *x = isSquare ? op[0] : nullptr;
  return x && x->users().size() == 1 && !x->isOutput() ? x : nullptr;
}

bool isLength(Value *value, Captures &c) {
  auto leg = [](Slot slot) { return unary(OpKind::abs, plait::passes::value(slot)); };
  auto longLeg = plait::passes::value(LongLeg);
  auto ratio = plait::passes::value(Ratio);
  auto root =
      unary(OpKind::sqrt,
            commutative(OpKind::add,
                        either(unary(OpKind::square, ratio), binary(OpKind::mul, ratio, ratio)),
                        splat(1)));
  if (!match(value, commutative(OpKind::mul, longLeg, root), c) ||
      !match(c[LongLeg], commutative(OpKind::maximum, leg(X), leg(Y)), c))
    return false;
  auto shortLeg = commutative(OpKind::minimum, leg(X), leg(Y));
  return match(c[Ratio], binary(OpKind::real_div, shortLeg, keptFromZero(longLeg)), c);
}

} // namespace

bool fuseHypot(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    Value *length = squaredOnce(op);
    Captures c{};
    if (!length || !isLength(length, c))
      return;
    Builder builder = Builder::before(&op);
    auto square = [&](Value *x) { return builder.emit(OpKind::square, {{square::x, x}}); };
    replaceOp(&op, builder.emit(OpKind::add, {{add::x, square(c[X])}, {add::y, square(c[Y])}}));
    changed = true;
  });
  return changed;
}

} // namespace plait::passes
