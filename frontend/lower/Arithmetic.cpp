// Elementwise arithmetic of tensors and numbers: promotion as at::result_type does it, alpha,
// rounding modes, bounds. Bool operands are computed in int32, which MIL's arithmetic needs.
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"

#include <cfloat>
#include <cmath>

namespace plait::frontend {

using namespace mil;

namespace {
/// Two operands brought to the element type in which PyTorch computes.
struct Operands {
  Operands(Call &c, llvm::StringRef first, llvm::StringRef second, bool floatOnly = false)
      : dtype(c.promote({first, second})), x(c, c.builder().poison()), y(x) {
    if (floatOnly && !at::isFloatingType(dtype))
      dtype = at::typeMetaToScalarType(at::get_default_dtype());
    // MIL's arithmetic has no bool.
    at::ScalarType computed = dtype == at::kBool ? at::kInt : dtype;
    x = Expr(c, c.operand(first, computed));
    y = Expr(c, c.operand(second, computed));
  }
  at::ScalarType dtype;
  Expr x, y;
};

/// The result of an int32 computation on bools is a bool again.
void giveResult(Call &c, const Expr &value, at::ScalarType dtype) {
  c.result(dtype == at::kBool ? castTo(value, DType::Bool) : value, dtype);
}

void lowerAdd(Call &c) {
  Operands in(c, "self", "other");
  if (!c.failed())
    giveResult(c, in.x + timesArgument(c, in.y, "alpha"), in.dtype);
}

void lowerSub(Call &c) {
  Operands in(c, "self", "other");
  if (!c.failed())
    giveResult(c, in.x - timesArgument(c, in.y, "alpha"), in.dtype);
}

void lowerRsub(Call &c) {
  Operands in(c, "self", "other");
  if (!c.failed())
    giveResult(c, in.y - timesArgument(c, in.x, "alpha"), in.dtype);
}

void lowerMul(Call &c) {
  Operands in(c, "self", "other");
  if (!c.failed())
    giveResult(c, in.x * in.y, in.dtype);
}

void lowerTrueDivide(Call &c) {
  Operands in(c, "self", "other", /*floatOnly=*/true);
  if (!c.failed())
    c.result(in.x / in.y, in.dtype);
}

void lowerFloorDivide(Call &c) {
  Operands in(c, "self", "other");
  if (!c.failed())
    giveResult(c, flooredQuotient(in.x, in.y), in.dtype);
}

void lowerDivide(Call &c) {
  if (!c.has("rounding_mode"))
    return lowerTrueDivide(c);
  std::string mode = c.string("rounding_mode");
  if (mode == "floor")
    return lowerFloorDivide(c);
  if (mode != "trunc")
    return c.refuse(Code::UnsupportedForm,
                    "rounding_mode is '{0}'; known are None, 'floor' and 'trunc'", mode);
  Operands in(c, "self", "other");
  if (!c.failed())
    giveResult(c, truncateDivide(in.x, in.y), in.dtype);
}

void lowerRemainder(Call &c) {
  Operands in(c, "self", "other");
  if (!c.failed())
    giveResult(c, remainderOf(in.x, in.y), in.dtype);
}

void lowerFmod(Call &c) {
  Operands in(c, "self", "other");
  if (!c.failed())
    giveResult(c, fmodOf(in.x, in.y), in.dtype);
}

void lowerMaximum(Call &c) {
  Operands in(c, "self", "other");
  if (!c.failed())
    giveResult(c, maximum(in.x, in.y), in.dtype);
}

void lowerMinimum(Call &c) {
  Operands in(c, "self", "other");
  if (!c.failed())
    giveResult(c, minimum(in.x, in.y), in.dtype);
}

/// fmax and fmin: a NaN gives way to the other operand.
template <bool Max> void lowerNumberExtreme(Call &c) {
  Operands in(c, "self", "other");
  if (c.failed())
    return;
  Expr x = in.x, y = in.y;
  if (x.valid() && y.valid() && x.dtype() == DType::F32) {
    x = select(notEqual(in.x, in.x), in.y, in.x);
    y = select(notEqual(in.y, in.y), in.x, in.y);
  }
  giveResult(c, Max ? maximum(x, y) : minimum(x, y), in.dtype);
}

/// clamp with either bound absent, a number or a tensor; also clamp_min and clamp_max.
void lowerClamp(Call &c) {
  llvm::SmallVector<llvm::StringRef, 3> names = {"self"};
  bool low = c.has("min"), high = c.has("max");
  if (low)
    names.push_back("min");
  if (high)
    names.push_back("max");
  if (names.size() == 1)
    return c.refuse(Code::OperandMismatch, "at least one of min and max is needed");
  at::ScalarType dtype = c.promote(names);
  Tensor x = c.operand("self", dtype);
  if (c.failed())
    return;
  Expr e(c, x);
  auto from = low ? knownNumber(c, "min") : std::nullopt,
       to = high ? knownNumber(c, "max") : std::nullopt;
  // MIL's clip wants bounds in order.
  if (x.isFloat() && from && to && *from < *to)
    e = clamp(e, *from, *to);
  else {
    if (low)
      e = maximum(e, Expr(c, c.operand("min", dtype)));
    if (high)
      e = minimum(e, Expr(c, c.operand("max", dtype)));
  }
  c.result(e, dtype);
}

void lowerNeg(Call &c) {
  Tensor x = c.tensor("self");
  if (!c.failed())
    c.result(-Expr(c, x), x.dtype);
}

void lowerPositive(Call &c) {
  Tensor x = c.tensor("self");
  if (!c.failed())
    c.result(x);
}

void lowerTrunc(Call &c) {
  Tensor x = c.tensor("self");
  if (!c.failed())
    c.result(truncate(Expr(c, x)), x.dtype);
}

void lowerFrac(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  Expr e(c, x);
  c.result(e - truncate(e), x.dtype);
}

/// Rounds half to even at a decimal position, as PyTorch does: through a product and a quotient.
void lowerRoundDecimals(Call &c) {
  Tensor x = c.tensor("self");
  int64_t decimals = c.integer("decimals");
  if (c.failed())
    return;
  if (!x.isFloat())
    return c.result(x);
  Expr e(c, x);
  double factor = std::pow(10.0, std::abs(decimals));
  if (decimals == 0)
    e = unary(OpKind::round, e);
  else if (decimals > 0)
    e = unary(OpKind::round, e * factor) / factor;
  else
    e = unary(OpKind::round, e / factor) * factor;
  c.result(e, x.dtype);
}

void lowerReciprocal(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  x = toFloat(c, x);
  c.result(1.0 / Expr(c, x), x.dtype);
}

void lowerRsqrt(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  x = toFloat(c, x);
  c.result(c.emit(OpKind::rsqrt, {{rsqrt::x, x.value}, {rsqrt::epsilon, 0.0}}), x.dtype);
}

void lowerLerp(Call &c) {
  Tensor start = c.tensor("self"), end = c.tensor("end");
  if (c.failed())
    return;
  Expr from(c, start), to(c, end);
  Expr weight(c, c.operand("weight", start.dtype));
  c.result(from + weight * (to - from), start.dtype);
}

/// self + value * tensor1 * tensor2, or / tensor2.
template <bool Divide> void lowerAddProduct(Call &c) {
  at::ScalarType dtype = c.promote({"self", "tensor1", "tensor2"});
  Tensor x = c.operand("self", dtype), a = c.operand("tensor1", dtype),
         b = c.operand("tensor2", dtype);
  if (c.failed())
    return;
  if (Divide && !x.isFloat())
    return c.refuse(Code::UnsupportedForm,
                    "addcdiv of integers is refused by PyTorch itself; cast the operands to float");
  Expr first(c, a), second(c, b);
  Expr product = Divide ? first / second : first * second;
  c.result(Expr(c, x) + timesArgument(c, product, "value"), dtype);
}

void lowerCopysign(Call &c) {
  Operands in(c, "self", "other", /*floatOnly=*/true);
  if (c.failed())
    return;
  Expr magnitude = absolute(in.x);
  c.result(select(signBit(in.y), -magnitude, magnitude), in.dtype);
}

/// The larger leg times the root of 1 + ratio^2: squares of the legs would overflow.
void lowerHypot(Call &c) {
  Operands in(c, "self", "other");
  if (c.failed())
    return;
  Expr x = absolute(in.x), y = absolute(in.y);
  Expr longer = maximum(x, y);
  // Neither 0 / 0 nor infinity / infinity.
  Expr ratio = minimum(x, y) / clamp(longer, FLT_MIN, FLT_MAX);
  c.result(longer * squareRoot(unary(OpKind::square, ratio) + 1.0), in.dtype);
}

void lowerHeaviside(Call &c) {
  Operands in(c, "self", "values");
  if (c.failed())
    return;
  Expr step = castTo(greater(in.x, 0), in.x.dtype());
  c.result(select(equal(in.x, 0), in.y, step), in.dtype);
}
} // namespace

void registerArithmetic(Table &table) {
  table.add({"aten::add.Tensor", "aten::add.Scalar"}, lowerAdd);
  table.add(
      {"aten::sub.Tensor", "aten::sub.Scalar", "aten::subtract.Tensor", "aten::subtract.Scalar"},
      lowerSub);
  table.add({"aten::rsub.Tensor", "aten::rsub.Scalar"}, lowerRsub);
  table.add(
      {"aten::mul.Tensor", "aten::mul.Scalar", "aten::multiply.Tensor", "aten::multiply.Scalar"},
      lowerMul);
  table.add({"aten::div.Tensor", "aten::div.Scalar", "aten::divide.Tensor", "aten::divide.Scalar",
             "aten::true_divide.Tensor", "aten::true_divide.Scalar"},
            lowerTrueDivide);
  table.add({"aten::div.Tensor_mode", "aten::div.Scalar_mode", "aten::divide.Tensor_mode",
             "aten::divide.Scalar_mode"},
            lowerDivide);
  table.add({"aten::floor_divide", "aten::floor_divide.Scalar"}, lowerFloorDivide);
  table.add({"aten::remainder.Tensor", "aten::remainder.Scalar", "aten::remainder.Scalar_Tensor"},
            lowerRemainder);
  table.add({"aten::fmod.Tensor", "aten::fmod.Scalar"}, lowerFmod);
  table.add({"aten::maximum", "aten::max.other"}, lowerMaximum);
  table.add({"aten::minimum", "aten::min.other"}, lowerMinimum);
  table.add({"aten::fmax"}, lowerNumberExtreme<true>);
  table.add({"aten::fmin"}, lowerNumberExtreme<false>);
  table.add({"aten::clamp", "aten::clamp.Tensor", "aten::clip", "aten::clip.Tensor",
             "aten::clamp_min", "aten::clamp_min.Tensor", "aten::clamp_max",
             "aten::clamp_max.Tensor"},
            lowerClamp);
  table.add({"aten::neg", "aten::negative"}, lowerNeg);
  table.add({"aten::positive"}, lowerPositive);
  table.add({"aten::trunc", "aten::fix"}, lowerTrunc);
  table.add({"aten::frac"}, lowerFrac);
  table.add({"aten::round.decimals", "aten::special_round"}, lowerRoundDecimals);
  table.add({"aten::reciprocal"}, lowerReciprocal);
  table.add({"aten::rsqrt"}, lowerRsqrt);
  table.add({"aten::lerp.Scalar", "aten::lerp.Tensor"}, lowerLerp);
  table.add({"aten::addcmul"}, lowerAddProduct<false>);
  table.add({"aten::addcdiv"}, lowerAddProduct<true>);
  table.add({"aten::copysign.Tensor", "aten::copysign.Scalar"}, lowerCopysign);
  table.add({"aten::hypot"}, lowerHypot);
  table.add({"aten::heaviside"}, lowerHeaviside);
  table.setLeavesRange({"aten::add.Tensor", "aten::add.Scalar", "aten::sub.Tensor",
                        "aten::sub.Scalar", "aten::subtract.Tensor", "aten::subtract.Scalar",
                        "aten::rsub.Tensor", "aten::rsub.Scalar", "aten::mul.Tensor",
                        "aten::mul.Scalar", "aten::multiply.Tensor", "aten::multiply.Scalar",
                        "aten::neg", "aten::negative", "aten::addcmul"});
}

} // namespace plait::frontend
