// Powers, exponentials, logarithms and the trigonometry that MIL has no operation for.
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"

#include <cmath>
#include <numbers>

namespace plait::frontend {

using namespace mil;

namespace {
/// x to a known power, by what is exact and cheap: Core ML's pow may be neither.
Expr constantPower(const Expr &x, double exponent) {
  if (exponent == 1)
    return x;
  if (exponent == 2)
    return unary(OpKind::square, x);
  if (exponent == 3)
    return unary(OpKind::square, x) * x;
  if (x.dtype() == DType::F32) {
    if (exponent == 0.5)
      return squareRoot(x);
    if (exponent == -1)
      return 1.0 / x;
    if (exponent == -2)
      return 1.0 / unary(OpKind::square, x);
    if (exponent == -0.5)
      return 1.0 / squareRoot(x);
  }
  return power(x, exponent);
}

/// A known number to the power x. Core ML computes pow(2, x) as x * x, so 2 goes another way.
Expr powerOf(double base, const Expr &x) {
  if (base != 2)
    return power(base, x);
  Expr y = unary(OpKind::exp2, castTo(x, DType::F32));
  return x.dtype() == DType::F32 ? y : castTo(unary(OpKind::round, y), x.dtype());
}

template <bool FloatOnly> void lowerPow(Call &c) {
  at::ScalarType dtype = c.promote({"self", "exponent"});
  if (FloatOnly)
    dtype = at::kDouble;
  auto base = knownNumber(c, "self"), exponent = knownNumber(c, "exponent");
  if (c.failed())
    return;
  at::ScalarType computed = dtype == at::kBool ? at::kInt : dtype;
  if (exponent && !base) {
    Tensor x = c.operand("self", computed);
    if (c.failed())
      return;
    if (!x.isFloat() && *exponent < 0)
      return c.refuse(Code::UnsupportedForm,
                      "integers to a negative power are refused by PyTorch itself");
    if (*exponent == 0)
      return c.result(c.full(x.shape(), x.milType(), 1), dtype);
    return c.result(constantPower(Expr(c, x), *exponent), dtype);
  }
  Tensor y = c.operand("exponent", computed);
  if (c.failed())
    return;
  if (base)
    return c.result(powerOf(*base, Expr(c, y)), dtype);
  Tensor x = c.operand("self", computed);
  if (!c.failed())
    c.result(power(Expr(c, x), Expr(c, y)), dtype);
}

/// A function of one tensor that is computed in float.
template <typename Formula> void lowerUnary(Call &c, Formula formula) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  x = toFloat(c, x);
  c.result(formula(Expr(c, x)), x.dtype);
}

void lowerLog(Call &c) { lowerUnary(c, logarithm); }
void lowerLog2(Call &c) {
  lowerUnary(c, [](Expr x) { return logarithm(x) * std::numbers::log2e; });
}
void lowerLog10(Call &c) {
  lowerUnary(c, [](Expr x) { return logarithm(x) * std::numbers::log10e; });
}
void lowerLog1p(Call &c) {
  // MIL's logarithm adds its epsilon to x.
  lowerUnary(c, [&](Expr x) {
    return Expr(c, c.emit(OpKind::log, {{log::x, x.value()}, {log::epsilon, 1.0}}));
  });
}
void lowerExpm1(Call &c) {
  lowerUnary(c, [](Expr x) { return exponential(x) - 1.0; });
}
void lowerErfc(Call &c) {
  lowerUnary(c, [](Expr x) { return 1.0 - unary(OpKind::erf, x); });
}
void lowerAsinh(Call &c) {
  // Odd in x, so that large negative arguments do not cancel. The root of a^2 + 1 is taken as that
  // of a times that of a + 1 / a: squares overflow. Below 1e-4 it is 1.
  lowerUnary(c, [](Expr x) {
    Expr a = absolute(x), bounded = maximum(a, 1e-4);
    Expr root = squareRoot(bounded) * squareRoot(bounded + 1.0 / bounded);
    return signOf(x) * logarithm(a + root);
  });
}
void lowerAcosh(Call &c) {
  // x^2 would overflow.
  lowerUnary(c, [](Expr x) { return logarithm(x + squareRoot(x - 1.0) * squareRoot(x + 1.0)); });
}
void lowerDegrees(Call &c) {
  lowerUnary(c, [](Expr x) { return x * (180 / std::numbers::pi); });
}
void lowerRadians(Call &c) {
  lowerUnary(c, [](Expr x) { return x * (std::numbers::pi / 180); });
}
void lowerSinc(Call &c) {
  lowerUnary(c, [](Expr x) {
    Expr zero = equal(x, 0.0);
    Expr angle = select(zero, 1.0, x * std::numbers::pi);
    return select(zero, 1.0, unary(OpKind::sin, angle) / angle);
  });
}

/// The angle in the first octant, atan of the shorter leg over the longer one, mirrored by what the
/// signs say: those of zeros too. Legs of one length have one angle, infinite ones as well.
void lowerAtan2(Call &c) {
  at::ScalarType dtype = c.promote({"self", "other"});
  if (!at::isFloatingType(dtype))
    dtype = at::kFloat;
  Tensor a = c.operand("self", dtype), b = c.operand("other", dtype);
  if (c.failed())
    return;
  Expr y(c, a), x(c, b);
  Expr height = absolute(y), width = absolute(x);
  Expr longer = maximum(height, width);
  Expr none = equal(longer, 0.0);
  Expr ratio = select(equal(height, width), castTo(logicalNot(none), DType::F32),
                      minimum(height, width) / select(none, 1.0, longer));
  Expr angle = unary(OpKind::atan, ratio);
  angle = select(greater(height, width), std::numbers::pi / 2 - angle, angle);
  angle = select(signBit(x), std::numbers::pi - angle, angle);
  c.result(select(signBit(y), -angle, angle), dtype);
}

/// x * log(y), and 0 where x is 0 whatever y is.
void lowerXlogy(Call &c) {
  at::ScalarType dtype = c.promote({"self", "other"});
  if (!at::isFloatingType(dtype))
    dtype = at::kFloat;
  Tensor a = c.operand("self", dtype), b = c.operand("other", dtype);
  if (c.failed())
    return;
  Expr x(c, a), y(c, b);
  Expr zero = equal(x, 0.0);
  c.result(x * logarithm(select(zero, 1.0, y)), dtype);
}

/// max + log(1 + e^-|difference|), in base e or 2.
void lowerLogaddexp(Call &c) {
  at::ScalarType dtype = c.promote({"self", "other"});
  Tensor a = c.operand("self", dtype), b = c.operand("other", dtype);
  if (c.failed())
    return;
  c.result(logAddExp(Expr(c, a), Expr(c, b), llvm::StringRef(c.name()).ends_with("2")), dtype);
}

/// x 2^other.
void lowerLdexp(Call &c) {
  Tensor x = toFloat(c, c.tensor("self"));
  Tensor exponent = c.cast(c.tensor("other"), x.dtype);
  if (c.failed())
    return;
  c.result(Expr(c, x) * power(2.0, Expr(c, exponent)), x.dtype);
}
} // namespace

void registerExponential(Table &table) {
  table.add({"aten::ldexp.Tensor"}, lowerLdexp);
  table.add({"aten::pow.Tensor_Tensor", "aten::pow.Tensor_Scalar", "aten::pow.Scalar"},
            lowerPow<false>);
  table.add({"aten::float_power.Tensor_Tensor", "aten::float_power.Tensor_Scalar",
             "aten::float_power.Scalar"},
            lowerPow<true>);
  table.add({"aten::log"}, lowerLog);
  table.add({"aten::log2"}, lowerLog2);
  table.add({"aten::log10"}, lowerLog10);
  table.add({"aten::log1p", "aten::special_log1p"}, lowerLog1p);
  table.add({"aten::expm1", "aten::special_expm1"}, lowerExpm1);
  table.add({"aten::erfc"}, lowerErfc);
  table.add({"aten::asinh", "aten::arcsinh"}, lowerAsinh);
  table.add({"aten::acosh", "aten::arccosh"}, lowerAcosh);
  table.add({"aten::rad2deg"}, lowerDegrees);
  table.add({"aten::deg2rad"}, lowerRadians);
  table.add({"aten::sinc"}, lowerSinc);
  table.add({"aten::atan2", "aten::arctan2"}, lowerAtan2);
  table.add({"aten::xlogy.Tensor", "aten::xlogy.Scalar_Other", "aten::xlogy.Scalar_Self",
             "aten::special_xlogy", "aten::special_xlogy.other_scalar",
             "aten::special_xlogy.self_scalar"},
            lowerXlogy);
  table.add({"aten::logaddexp", "aten::logaddexp2"}, lowerLogaddexp);
  table.setLeavesRange({"aten::pow.Tensor_Tensor", "aten::pow.Tensor_Scalar", "aten::pow.Scalar"});
}

} // namespace plait::frontend
