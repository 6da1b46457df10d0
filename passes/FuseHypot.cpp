// fuse-hypot: writes the length of a complex tensor, or its square, in fewer operations.
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
// The square overflows and vanishes where the sum of squares does. A length that is not squared is
// that of both parts over the larger one, whose squares do not overflow:
//
//   %z = stack(values = (%x, %y), axis = 0)
//   %a = abs(x = %z)
//   %l = reduce_max(x = %a, axes = [0])
//   %d = maximum(x = %l, y = 1e-7)
//   %r = real_div(x = %z, y = %d)
//   %n = reduce_l2_norm(x = %r, axes = [0])
//   %h = mul(x = %l, y = %n)
//
// Two convolutions that compute the parts from one signal, as those of a spectrum do, become one,
// whose channels are both.
#include "passes/Match.h"
#include "passes/Rewrite.h"
#include "passes/Sharing.h"

#include "llvm/ADT/Hashing.h"

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

/// A length, or the square of one, and its parts.
struct Length {
  Op *op;
  Value *x, *y;
  bool squared;
  uint64_t keys[2] = {0, 0}; ///< of the weights, where two convolutions may be one
};

std::optional<Length> lengthAt(Op &op) {
  Captures c{};
  if (Value *length = squaredOnce(op))
    return isLength(length, c) ? std::optional(Length{&op, c[X], c[Y], true}) : std::nullopt;
  Value *result = op.result();
  bool isSquared = result->users().size() == 1 && squaredOnce(*result->users()[0]) == result;
  if (!op.is(OpKind::mul) || isSquared || !isLength(result, c))
    return std::nullopt;
  // What it is computed from goes with it.
  const Op &shortLeg = *(*c[Ratio]->def())[real_div::x]->def(), &longLeg = *c[LongLeg]->def();
  if (shortLeg.result()->users().size() > 1 || c[Ratio]->users().size() > 1 ||
      c[LongLeg]->users().size() > 2 || longLeg[0]->users().size() > 2 ||
      longLeg[1]->users().size() > 2)
    return std::nullopt;
  size_t rank = c[X]->type.rank();
  bool fits = c[X]->type == result->type && c[Y]->type == result->type && rank > 0 && rank < 5;
  return fits ? std::optional(Length{&op, c[X], c[Y], false}) : std::nullopt;
}

bool isSame(const Value *a, const Value *b) {
  const Attr *x = a ? constAttr(a) : nullptr, *y = b ? constAttr(b) : nullptr;
  return a == b || (x && y && *x == *y);
}

/// Whether the parts are results of convolutions of one signal that differ in their weights alone.
bool areConvolutions(const Length &length) {
  Op *a = definedBy(length.x, OpKind::conv), *b = definedBy(length.y, OpKind::conv);
  auto shape = staticShape(length.x);
  if (!a || !b || !shape || !(length.x->type == length.y->type) || !length.x->hasOneUse() ||
      !length.y->hasOneUse() || (*a)[conv::x] != (*b)[conv::x] || (*a)[conv::bias] ||
      (*b)[conv::bias] || constInt((*a)[conv::groups]).value_or(1) != 1 ||
      (!length.squared && (*shape)[0] != 1))
    return false;
  for (unsigned param : {unsigned(conv::strides), unsigned(conv::pad_type), unsigned(conv::pad),
                         unsigned(conv::dilations), unsigned(conv::groups)})
    if (!isSame((*a)[param], (*b)[param]))
      return false;
  return constTensor((*a)[conv::weight]) && constTensor((*b)[conv::weight]) &&
         (*a)[conv::weight]->type == (*b)[conv::weight]->type;
}

/// The results of both convolutions, along an axis of two: the second, or, where there is one
/// image, the first.
Value *asOne(Builder &builder, const Length &length) {
  Op &a = *length.x->def(), &b = *length.y->def();
  Value *weights[] = {a[conv::weight], b[conv::weight]};
  Value *weight = builder.emit(
      OpKind::concat, {Arg(concat::values, llvm::ArrayRef<Value *>(weights)), {concat::axis, 0}});
  Value *both = builder.emit(OpKind::conv, {{conv::x, a[conv::x]},
                                            {conv::weight, weight},
                                            {conv::strides, a[conv::strides]},
                                            {conv::pad_type, a[conv::pad_type]},
                                            {conv::pad, a[conv::pad]},
                                            {conv::dilations, a[conv::dilations]},
                                            {conv::groups, a[conv::groups]}});
  auto shape = *staticShape(length.x);
  shape.insert(shape.begin() + (length.squared ? 1 : 0), 2);
  return builder.emit(OpKind::reshape,
                      {{reshape::x, both}, Arg(reshape::shape, llvm::ArrayRef<int64_t>(shape))});
}

Value *rewritten(const Length &length, bool joins) {
  Builder builder = Builder::before(length.op);
  if (length.squared && joins)
    return builder.emit(OpKind::reduce_sum_square, {{reduce_sum_square::x, asOne(builder, length)},
                                                    Arg(reduce_sum_square::axes, {1})});
  auto square = [&](Value *x) { return builder.emit(OpKind::square, {{square::x, x}}); };
  if (length.squared)
    return builder.emit(OpKind::add, {{add::x, square(length.x)}, {add::y, square(length.y)}});
  Value *parts[] = {length.x, length.y};
  Value *both =
      joins ? asOne(builder, length)
            : builder.emit(OpKind::stack,
                           {Arg(stack::values, llvm::ArrayRef<Value *>(parts)), {stack::axis, 0}});
  Value *sizes = builder.emit(OpKind::abs, {{mil::abs::x, both}});
  Value *larger =
      builder.emit(OpKind::reduce_max, {{reduce_max::x, sizes}, Arg(reduce_max::axes, {0})});
  Value *divisor = builder.emit(OpKind::maximum, {{maximum::x, larger}, {maximum::y, 1e-7}});
  Value *ratios = builder.emit(OpKind::real_div, {{real_div::x, both}, {real_div::y, divisor}});
  Value *norm = builder.emit(OpKind::reduce_l2_norm,
                             {{reduce_l2_norm::x, ratios}, Arg(reduce_l2_norm::axes, {0})});
  return builder.emit(OpKind::mul, {{mul::x, larger}, {mul::y, norm}});
}

} // namespace

bool fuseHypot(Program &program, PassContext &context) {
  std::vector<Length> lengths;
  walk(program, [&](Op &op) {
    if (op.numResults() != 1 || op.operands().empty())
      return;
    if (auto length = lengthAt(op))
      lengths.push_back(*length);
  });
  if (lengths.empty())
    return false;
  WeightChanges changes(program, context.options.precision);
  ContentKeys keys(context.options.precision);
  for (Length &length : lengths)
    if (areConvolutions(length)) {
      const TensorData *weights[2];
      for (unsigned i : {0, 1})
        weights[i] = constTensor((*(i ? length.y : length.x)->def())[conv::weight]);
      for (unsigned i : {0, 1}) // each becomes one half of a weight with the other
        length.keys[i] = changes.add(*weights[i], llvm::hash_combine(i, keys(*weights[1 - i])));
    }
  for (Length &length : lengths) {
    bool joins = length.keys[0] && (!context.options.share || (changes.keepShared(length.keys[0]) &&
                                                               changes.keepShared(length.keys[1])));
    // Parts may be lengths themselves, which have been rewritten.
    if (auto current = lengthAt(*length.op))
      replaceOp(length.op, rewritten(*current, joins));
  }
  return true;
}

} // namespace plait::passes
