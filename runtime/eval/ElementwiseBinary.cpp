// Elementwise operations of two operands with broadcasting, and select.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

template <auto Fn> Results binary(EvalContext &c) { return Fn(c.value(0), c.value(1)); }

using T = const at::Tensor &;
at::Tensor addOf(T x, T y) { return x + y; }
at::Tensor subOf(T x, T y) { return x - y; }
at::Tensor mulOf(T x, T y) { return x * y; }
at::Tensor maximumOf(T x, T y) { return at::maximum(x, y); }
at::Tensor minimumOf(T x, T y) { return at::minimum(x, y); }
at::Tensor equalOf(T x, T y) { return x.eq(y); }
at::Tensor notEqualOf(T x, T y) { return x.ne(y); }
at::Tensor greaterOf(T x, T y) { return x.gt(y); }
at::Tensor greaterEqualOf(T x, T y) { return x.ge(y); }
at::Tensor lessOf(T x, T y) { return x.lt(y); }
at::Tensor lessEqualOf(T x, T y) { return x.le(y); }
at::Tensor andOf(T x, T y) { return at::logical_and(x, y); }
at::Tensor orOf(T x, T y) { return at::logical_or(x, y); }
at::Tensor xorOf(T x, T y) { return at::logical_xor(x, y); }

void checkDivisor(T y) {
  TORCH_CHECK(y.is_floating_point() || !y.eq(0).any().item<bool>(),
              "an integer is divided by zero");
}

/// Towards minus infinity, for integers and floats alike.
at::Tensor floorDivOf(T x, T y) {
  checkDivisor(y);
  return x.is_floating_point() ? at::floor(x / y) : at::div(x, y, "floor");
}

/// x - y * floor(x / y): the sign of y.
at::Tensor modOf(T x, T y) {
  checkDivisor(y);
  return at::remainder(x, y);
}

/// Integers divide as C does, towards zero: the result type is theirs.
at::Tensor realDivOf(T x, T y) {
  checkDivisor(y);
  return x.is_floating_point() ? x / y : at::div(x, y, "trunc");
}

/// Integer powers wrap; a negative exponent gives the truncated reciprocal: 0 unless the base is 1
/// or -1.
at::Tensor powOf(T x, T y) {
  if (x.is_floating_point())
    return at::pow(x, y);
  at::Tensor wide = at::pow(x.to(at::kLong), y.clamp_min(0).to(at::kLong));
  at::Tensor inverted = at::where(x.eq(1), at::ones_like(x), at::zeros_like(x));
  inverted = at::where(x.eq(-1), 1 - 2 * y.bitwise_and(1), inverted);
  return at::where(y.lt(0), inverted.to(at::kLong), wide);
}

Results evalSelect(EvalContext &c) {
  return at::where(c.raw(select::cond), c.raw(select::a), c.raw(select::b));
}

} // namespace

void registerElementwiseBinary(Registry &r) {
  r.add(OpKind::add, binary<addOf>);
  r.add(OpKind::equal, binary<equalOf>);
  r.add(OpKind::floor_div, binary<floorDivOf>);
  r.add(OpKind::greater, binary<greaterOf>);
  r.add(OpKind::greater_equal, binary<greaterEqualOf>);
  r.add(OpKind::less, binary<lessOf>);
  r.add(OpKind::less_equal, binary<lessEqualOf>);
  r.add(OpKind::logical_and, binary<andOf>);
  r.add(OpKind::logical_or, binary<orOf>);
  r.add(OpKind::logical_xor, binary<xorOf>);
  r.add(OpKind::maximum, binary<maximumOf>);
  r.add(OpKind::minimum, binary<minimumOf>);
  r.add(OpKind::mod, binary<modOf>);
  r.add(OpKind::mul, binary<mulOf>);
  r.add(OpKind::not_equal, binary<notEqualOf>);
  r.add(OpKind::pow, binary<powOf>);
  r.add(OpKind::real_div, binary<realDivOf>);
  r.add(OpKind::select, evalSelect);
  r.add(OpKind::sub, binary<subOf>);
}

} // namespace plait::runtime
