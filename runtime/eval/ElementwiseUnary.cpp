// Elementwise operations of one operand. Integers keep their type: their exp2 and square wrap.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

template <auto Fn> Results unary(EvalContext &c) { return Fn(c.value(0)); }

// Overload sets cannot be template arguments: one name each.
at::Tensor absOf(const at::Tensor &x) { return at::abs(x); }
at::Tensor acosOf(const at::Tensor &x) { return at::acos(x); }
at::Tensor asinOf(const at::Tensor &x) { return at::asin(x); }
at::Tensor atanOf(const at::Tensor &x) { return at::atan(x); }
at::Tensor atanhOf(const at::Tensor &x) { return at::atanh(x); }
at::Tensor ceilOf(const at::Tensor &x) { return at::ceil(x); }
at::Tensor cosOf(const at::Tensor &x) { return at::cos(x); }
at::Tensor coshOf(const at::Tensor &x) { return at::cosh(x); }
at::Tensor erfOf(const at::Tensor &x) { return at::erf(x); }
at::Tensor expOf(const at::Tensor &x) { return at::exp(x); }
at::Tensor exp2Of(const at::Tensor &x) { return at::exp2(x); }
at::Tensor floorOf(const at::Tensor &x) { return at::floor(x); }
at::Tensor notOf(const at::Tensor &x) { return at::logical_not(x); }
at::Tensor signOf(const at::Tensor &x) { return at::sign(x); }
at::Tensor sinOf(const at::Tensor &x) { return at::sin(x); }
at::Tensor sinhOf(const at::Tensor &x) { return at::sinh(x); }
at::Tensor sqrtOf(const at::Tensor &x) { return at::sqrt(x); }
at::Tensor squareOf(const at::Tensor &x) { return x * x; }
at::Tensor tanOf(const at::Tensor &x) { return at::tan(x); }
at::Tensor tanhOf(const at::Tensor &x) { return at::tanh(x); }

// The epsilons below are coremltools' defaults: what Core ML adds when a program states none.
Results evalInverse(EvalContext &c) {
  return at::reciprocal(c.value(inverse::x) + c.number(inverse::epsilon, 1e-4));
}

Results evalLog(EvalContext &c) {
  at::Tensor x = c.value(log::x);
  double epsilon = c.number(log::epsilon, 1e-45);
  return at::log(epsilon == 0 ? x : x + epsilon);
}

Results evalRsqrt(EvalContext &c) {
  at::Tensor x = c.value(rsqrt::x);
  double epsilon = c.number(rsqrt::epsilon, 1e-12);
  return at::rsqrt(epsilon == 0 ? x : x + epsilon);
}

Results evalClip(EvalContext &c) {
  at::Tensor x = c.value(clip::x);
  return at::minimum(at::maximum(x, c.value(clip::alpha)), c.value(clip::beta));
}

Results evalThreshold(EvalContext &c) {
  at::Tensor x = c.value(threshold::x);
  return at::maximum(x, c.value(threshold::alpha));
}

/// Half to even, as MIL.
Results evalRound(EvalContext &c) {
  at::Tensor x = c.value(mil::round::x);
  return c.compute() == Compute::Smooth ? x : at::round(x);
}

/// Floats to integers round towards zero and saturate, NaN gives 0; integers to narrower ones wrap;
/// anything to bool compares with zero.
Results evalCast(EvalContext &c) {
  at::Tensor x = c.raw(cast::x);
  DType to = c.resultType().dtype();
  if (to == DType::Bool)
    return x.ne(0);
  if (!isInteger(to))
    return x.to(heldType(to, c.compute()));
  unsigned bits = bitWidth(to);
  bool wide = bits >= 64;
  if (x.is_floating_point()) {
    double low = isUnsigned(to) ? 0 : -std::ldexp(1.0, int(bits) - 1);
    double high = std::ldexp(1.0, int(bits) - (isUnsigned(to) ? 0 : 1)) - 1;
    return at::nan_to_num(x.to(at::kDouble), 0.0, high, low).clamp(low, high).trunc().to(at::kLong);
  }
  at::Tensor values = x.to(at::kLong);
  if (wide)
    return values;
  values = values.bitwise_and((int64_t(1) << bits) - 1);
  if (!isUnsigned(to))
    values = at::where(values >= (int64_t(1) << (bits - 1)), values - (int64_t(1) << bits), values);
  return values;
}

} // namespace

void registerElementwiseUnary(Registry &r) {
  r.add(OpKind::abs, unary<absOf>);
  r.add(OpKind::acos, unary<acosOf>);
  r.add(OpKind::asin, unary<asinOf>);
  r.add(OpKind::atan, unary<atanOf>);
  r.add(OpKind::atanh, unary<atanhOf>);
  r.add(OpKind::cast, evalCast);
  r.add(OpKind::ceil, unary<ceilOf>);
  r.add(OpKind::clip, evalClip);
  r.add(OpKind::cos, unary<cosOf>);
  r.add(OpKind::cosh, unary<coshOf>);
  r.add(OpKind::erf, unary<erfOf>);
  r.add(OpKind::exp, unary<expOf>);
  r.add(OpKind::exp2, unary<exp2Of>);
  r.add(OpKind::floor, unary<floorOf>);
  r.add(OpKind::inverse, evalInverse);
  r.add(OpKind::log, evalLog);
  r.add(OpKind::logical_not, unary<notOf>);
  r.add(OpKind::round, evalRound);
  r.add(OpKind::rsqrt, evalRsqrt);
  r.add(OpKind::sign, unary<signOf>);
  r.add(OpKind::sin, unary<sinOf>);
  r.add(OpKind::sinh, unary<sinhOf>);
  r.add(OpKind::sqrt, unary<sqrtOf>);
  r.add(OpKind::square, unary<squareOf>);
  r.add(OpKind::tan, unary<tanOf>);
  r.add(OpKind::tanh, unary<tanhOf>);
  r.add(OpKind::threshold, evalThreshold);
}

} // namespace plait::runtime
