// fuse-activation: finds activations in their pieces.
//
//   %a = sigmoid(x = %x)                        before
//   %b = mul(x = %x, y = %a)
//
//   %b = silu(x = %x)                           after
//
// gelu in its exact form (erf) and its tanh approximation, in every association of the factors;
// silu; relu from maximum or clip; relu6 and clip from minimum and maximum; leaky_relu and prelu
// from a choice or from two relus; softplus.
// Constants are recognised to three digits: a model in half precision holds no more.
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include <cmath>
#include <numbers>

namespace plait::passes {

using namespace mil;

namespace {

// Slot 0 is the activation's input throughout.

auto cube() {
  auto x = value(0);
  auto squared = either(binary(OpKind::mul, x, x),
                        either(unary(OpKind::square, x), binary(OpKind::pow, x, splat(2))));
  return either(binary(OpKind::pow, x, splat(3)), commutative(OpKind::mul, squared, x));
}

/// x/2 * gate, in any association.
template <typename Gate> auto halfTimes(Gate gate) {
  auto x = value(0);
  return either(commutative(OpKind::mul, commutative(OpKind::mul, x, splat(0.5)), gate),
                either(commutative(OpKind::mul, commutative(OpKind::mul, gate, x), splat(0.5)),
                       commutative(OpKind::mul, commutative(OpKind::mul, gate, splat(0.5)), x)));
}

auto geluExact() {
  auto scaled = either(commutative(OpKind::mul, value(0), splat(1 / std::numbers::sqrt2)),
                       binary(OpKind::real_div, value(0), splat(std::numbers::sqrt2)));
  return halfTimes(commutative(OpKind::add, unary(OpKind::erf, scaled), splat(1)));
}

auto geluTanh() {
  const double factor = std::sqrt(2 / std::numbers::pi);
  auto x = value(0);
  auto sum = commutative(OpKind::add, x, commutative(OpKind::mul, cube(), splat(0.044715)));
  // x (1 + 0.044715 x^2), as some write it.
  auto squared = either(binary(OpKind::mul, x, x), unary(OpKind::square, x));
  auto product = commutative(
      OpKind::mul, commutative(OpKind::mul, x, splat(factor)),
      commutative(OpKind::add, commutative(OpKind::mul, squared, splat(0.044715)), splat(1)));
  auto inner = either(commutative(OpKind::mul, sum, splat(factor)), product);
  return halfTimes(commutative(OpKind::add, unary(OpKind::tanh, inner), splat(1)));
}

auto silu() { return commutative(OpKind::mul, value(0), unary(OpKind::sigmoid, value(0))); }

auto softplus() {
  return unary(OpKind::log, commutative(OpKind::add, unary(OpKind::exp, value(0)), splat(1)));
}

Value *fromMul(Op &op, Captures &c) {
  Builder builder = Builder::before(&op);
  if (match(op.result(), geluExact(), c))
    return builder.emit(OpKind::gelu, {{gelu::x, c[0]}, {gelu::mode, "EXACT"}});
  c = {};
  if (match(op.result(), geluTanh(), c))
    return builder.emit(OpKind::gelu, {{gelu::x, c[0]}, {gelu::mode, "TANH_APPROXIMATION"}});
  c = {};
  if (match(op.result(), silu(), c))
    return builder.emit(OpKind::silu, {{mil::silu::x, c[0]}});
  return nullptr;
}

/// clip has a lower bound below the upper one; of others minimum and maximum give a constant.
Value *clipped(Builder &builder, Value *x, double low, double high) {
  return low < high
             ? builder.emit(OpKind::clip, {{clip::x, x}, {clip::alpha, low}, {clip::beta, high}})
             : nullptr;
}

/// maximum(x, 0), maximum(x, a x), maximum(minimum(x, b), a).
Value *fromMaximum(Op &op, Captures &c) {
  Builder builder = Builder::before(&op);
  if (match(op.result(), commutative(OpKind::maximum, value(0), anySplat(1)), c)) {
    double low = *splatValue(c[1]);
    if (low == 0)
      return builder.emit(OpKind::relu, {{relu::x, c[0]}});
    Captures inner{};
    if (match(c[0], commutative(OpKind::minimum, value(0), anySplat(1)), inner) &&
        inner[0]->type == op.result()->type)
      return clipped(builder, inner[0], low, *splatValue(inner[1]));
    return nullptr;
  }
  c = {};
  if (match(op.result(),
            commutative(OpKind::maximum, value(0), commutative(OpKind::mul, value(0), anySplat(1))),
            c))
    if (double slope = *splatValue(c[1]); slope > 0 && slope < 1)
      return builder.emit(OpKind::leaky_relu, {{leaky_relu::x, c[0]}, {leaky_relu::alpha, slope}});
  return nullptr;
}

/// minimum(relu(x), 6), minimum(maximum(x, a), b).
Value *fromMinimum(Op &op, Captures &c) {
  Builder builder = Builder::before(&op);
  if (match(op.result(), commutative(OpKind::minimum, unary(OpKind::relu, value(0)), anySplat(1)),
            c)) {
    double high = *splatValue(c[1]);
    if (high == 6)
      return builder.emit(OpKind::relu6, {{relu6::x, c[0]}});
    return clipped(builder, c[0], 0, high);
  }
  c = {};
  if (match(op.result(),
            commutative(OpKind::minimum, commutative(OpKind::maximum, value(0), anySplat(1)),
                        anySplat(2)),
            c))
    return clipped(builder, c[0], *splatValue(c[1]), *splatValue(c[2]));
  return nullptr;
}

Value *fromClip(Op &op, Captures &c) {
  c[0] = op[clip::x];
  Builder builder = Builder::before(&op);
  auto high = constFloat(op[clip::beta]);
  if (!isSplat(op[clip::alpha], 0) || !high)
    return nullptr;
  if (*high == 6)
    return builder.emit(OpKind::relu6, {{relu6::x, c[0]}});
  return std::isinf(*high) ? builder.emit(OpKind::relu, {{relu::x, c[0]}}) : nullptr;
}

/// x where it is above 0, else times `slopes` times `sign`: leaky_relu where all slopes are equal,
/// prelu where there is one a channel of an image (Core ML takes others of no other rank).
Value *sloped(Op &op, Value *x, Value *slopes, double sign) {
  Builder builder = Builder::before(&op);
  if (auto slope = splatValue(slopes); slope && std::isfinite(*slope))
    return builder.emit(OpKind::leaky_relu,
                        {{leaky_relu::x, x}, {leaky_relu::alpha, sign * *slope}});
  const TensorData &tensor = *constTensor(slopes);
  auto shape = staticShape(x);
  int64_t channels = tensor.numElements();
  if (!shape || shape->size() != 4 || tensor.rank() > 4 || (*shape)[1] != channels)
    return nullptr;
  unsigned lead = 4 - tensor.rank();
  for (unsigned axis = 0; axis < tensor.rank(); ++axis)
    if (tensor.shape()[axis] != (axis + lead == 1 ? channels : 1))
      return nullptr;
  auto values = tensor.floatValues();
  if (!values) {
    consumeError(values.takeError());
    return nullptr;
  }
  if (!llvm::all_of(*values, [](double slope) { return std::isfinite(slope); }))
    return nullptr;
  TensorData alpha = tensor.reshape({channels});
  return builder.emit(
      OpKind::prelu,
      {{prelu::x, x},
       {prelu::alpha, derivedConstant(&op, sign < 0 ? alpha.scale(sign) : alpha, slopes)}});
}

/// select(x > 0, x, slopes * x), and with the branches exchanged.
Value *fromSelect(Op &op, Captures &c) {
  auto times = commutative(OpKind::mul, value(0), constant(1));
  auto above = either(binary(OpKind::greater, value(0), splat(0)),
                      binary(OpKind::greater_equal, value(0), splat(0)));
  auto below = either(binary(OpKind::less, value(0), splat(0)),
                      binary(OpKind::less_equal, value(0), splat(0)));
  Value *a = op[select::a], *b = op[select::b];
  if (match(op[select::cond], above, c) && c[0] == a && match(b, times, c))
    return sloped(op, c[0], c[1], 1);
  c = {};
  if (match(op[select::cond], below, c) && c[0] == b && match(a, times, c))
    return sloped(op, c[0], c[1], 1);
  return nullptr;
}

/// relu(x) - slopes * relu(-x), and the sum with slopes of the other sign.
Value *fromParts(Op &op, Captures &c) {
  auto positive = unary(OpKind::relu, value(0));
  auto negative = commutative(
      OpKind::mul, unary(OpKind::relu, commutative(OpKind::mul, value(0), splat(-1))), constant(1));
  if (match(op.result(), binary(OpKind::sub, positive, negative), c))
    return sloped(op, c[0], c[1], 1);
  c = {};
  if (match(op.result(), commutative(OpKind::add, positive, negative), c))
    return sloped(op, c[0], c[1], -1);
  return nullptr;
}

Value *fused(Op &op, Captures &c) {
  switch (op.kind()) {
  case OpKind::select:
    return fromSelect(op, c);
  case OpKind::add:
  case OpKind::sub:
    return fromParts(op, c);
  case OpKind::mul:
    return fromMul(op, c);
  case OpKind::maximum:
    return fromMaximum(op, c);
  case OpKind::minimum:
    return fromMinimum(op, c);
  case OpKind::clip:
    return fromClip(op, c);
  case OpKind::log:
    return match(op.result(), softplus(), c)
               ? Builder::before(&op).emit(OpKind::softplus, {{mil::softplus::x, c[0]}})
               : nullptr;
  default:
    return nullptr;
  }
}

} // namespace

bool fuseActivation(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.numResults() != 1 || !op.result()->hasUses() || !op.result()->type.isTensor() ||
        !isFloat(op.result()->type.dtype()))
      return;
    Captures c{};
    Value *activation = fused(op, c);
    if (!activation)
      return;
    if (!(activation->type == op.result()->type)) { // a constant that broadcasts raises the rank
      eraseDead(activation->def());
      return;
    }
    replaceOp(&op, activation);
    changed = true;
  });
  return changed;
}

} // namespace plait::passes
