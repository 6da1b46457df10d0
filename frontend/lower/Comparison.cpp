// Comparisons, logic, tests of special values and choices by a mask. Bool operands of a comparison
// are compared as int32.
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"

#include <cfloat>
#include <cmath>

namespace plait::frontend {

using namespace mil;

namespace {
template <OpKind Kind> void lowerCompare(Call &c) {
  at::ScalarType dtype = c.promote({"self", "other"});
  if (dtype == at::kBool)
    dtype = at::kInt;
  Tensor x = c.operand("self", dtype), y = c.operand("other", dtype);
  if (!c.failed())
    c.result(binary(Kind, Expr(c, x), Expr(c, y)), at::kBool);
}

void lowerIsClose(Call &c) {
  at::ScalarType dtype = c.promote({"self", "other"});
  if (!at::isFloatingType(dtype))
    dtype = at::kFloat;
  Tensor a = c.operand("self", dtype), b = c.operand("other", dtype);
  double rtol = c.number("rtol"), atol = c.number("atol");
  bool equalNan = c.boolean("equal_nan");
  if (c.failed())
    return;
  Expr x(c, a), y(c, b);
  Expr near = lessEqual(absolute(x - y), absolute(y) * rtol + atol);
  // Equal infinities have no finite difference; a finite value is not close to an infinite one.
  Expr result = logicalOr(equal(x, y), logicalAnd(near, lessEqual(absolute(y), FLT_MAX)));
  if (equalNan)
    result = logicalOr(result, logicalAnd(notEqual(x, x), notEqual(y, y)));
  c.result(result, at::kBool);
}

template <OpKind Kind> void lowerLogical(Call &c) {
  Tensor x = c.cast(c.tensor("self"), at::kBool), y = c.cast(c.tensor("other"), at::kBool);
  if (!c.failed())
    c.result(binary(Kind, Expr(c, x), Expr(c, y)), at::kBool);
}

void lowerLogicalNot(Call &c) {
  Tensor x = c.cast(c.tensor("self"), at::kBool);
  if (!c.failed())
    c.result(logicalNot(Expr(c, x)), at::kBool);
}

/// Bitwise operations are logic on bools; on integers MIL has none, so that only those with a known
/// mask of low bits can be written in arithmetic.
/// 2^0 to 2^30.
Expr powersOfTwo(Call &c) {
  llvm::SmallVector<int64_t, 31> powers;
  for (int64_t k = 0; k < 31; ++k)
    powers.push_back(int64_t(1) << k);
  return Expr(c, c.builder().ints(powers));
}

/// The bits of int32 below the sign, as a new last axis: floor(x / 2^k) mod 2.
Expr lowBits(const Expr &x) {
  Call &c = x.call();
  Expr two(c, c.builder().scalar(DType::I32, 2));
  return remainderOf(floorDivide(expandDims(x, {x.rank()}), powersOfTwo(c)), two);
}

/// Core ML has no logic of integers: their bits are taken apart, and summed up again. An `and` with
/// a mask of low bits is a remainder.
template <OpKind Kind> void lowerBitwise(Call &c) {
  at::ScalarType dtype = c.promote({"self", "other"});
  Tensor x = c.operand("self", dtype), y = c.operand("other", dtype);
  if (c.failed())
    return;
  if (dtype == at::kBool)
    return c.result(binary(Kind, Expr(c, x), Expr(c, y)), dtype);
  if (Kind == OpKind::logical_and) {
    for (auto [value, mask] : {std::pair(x, y), std::pair(y, x)}) {
      auto bits = constInt(mask.value);
      if (bits && *bits >= 0 && ((*bits + 1) & *bits) == 0)
        return c.result(
            remainderOf(Expr(c, value), Expr(c, c.builder().scalar(DType::I32, *bits + 1))), dtype);
    }
  }
  auto shape = broadcastShapes(c, {x.shape(), y.shape()});
  if (!shape)
    return;
  // The bits are one axis more.
  bool flat = shape->size() >= 5;
  auto bits = [&](const Tensor &t) {
    Expr e(c, flat ? c.reshape(c.broadcastTo(t.value, *shape), {numElements(*shape)}) : t.value);
    return std::pair(lowBits(e), less(e, 0));
  };
  auto a = bits(x), b = bits(y);
  Expr low = Kind == OpKind::logical_and  ? a.first * b.first
             : Kind == OpKind::logical_or ? maximum(a.first, b.first)
                                          : castTo(notEqual(a.first, b.first), DType::I32);
  Expr sum = reduce(OpKind::reduce_sum, low * powersOfTwo(c), {low.rank() - 1}, false);
  Expr sign = castTo(binary(Kind, a.second, b.second), DType::I32);
  Expr result = sum + sign * Expr(c, c.builder().scalar(DType::I32, INT32_MIN));
  c.result(flat ? Expr(c, c.reshape(result, *shape)) : result, dtype);
}

void lowerBitwiseNot(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  Expr e(c, x);
  c.result(x.isBool() ? logicalNot(e) : -1 - e, x.dtype);
}

/// What a shift by `count` to the left multiplies with; nullopt where the product may be a number
/// of more than 32 bits.
std::optional<int64_t> leftFactor(int64_t count, at::ScalarType dtype) {
  if (count >= 0 && count <= 30)
    return int64_t(1) << count;
  int64_t bits = 8 * int64_t(c10::elementSize(dtype));
  if (count < 0 || count >= bits)
    return 0;
  return dtype == at::kInt ? std::optional<int64_t>(INT32_MIN) : std::nullopt;
}

/// Shifts by known counts are products and quotients by powers of two.
template <bool Left> void lowerShift(Call &c) {
  at::ScalarType dtype = c.promote({"self", "other"});
  Tensor x = c.operand("self", dtype), y = c.operand("other", dtype);
  if (c.failed())
    return;
  const TensorData *counts = constTensor(y.value);
  if (!counts)
    return c.refuse(Code::NotKnown,
                    "only a shift by known counts can be lowered; Core ML has no shift operation");
  auto values = counts->intValues();
  if (!values)
    return c.refuse(values.takeError());
  auto constant = [&](llvm::ArrayRef<int64_t> numbers) {
    return Expr(c,
                c.builder().constant(TensorData::ints(numbers).reshape(counts->shape()), "powers"));
  };
  llvm::SmallVector<int64_t, 8> factors, rest;
  for (int64_t count : *values) {
    // To the right: by as many as there are leaves the sign, and so does what is no count.
    bool isBeyond = count < 0 || count > 30;
    auto factor = Left ? leftFactor(count, dtype) : int64_t(1) << (isBeyond ? 30 : count);
    if (!factor)
      return c.refuse(Code::UnsupportedType,
                      "a shift by {0} to the left gives integers that Core ML's int32 does not "
                      "hold",
                      count);
    factors.push_back(*factor);
    rest.push_back(isBeyond ? 2 : 1);
  }
  if (Left)
    return c.result(Expr(c, x) * constant(factors), dtype);
  Expr quotient = floorDivide(Expr(c, x), constant(factors));
  c.result(llvm::is_contained(rest, 2) ? floorDivide(quotient, constant(rest)) : quotient, dtype);
}

/// A test of a float; integers are all finite and no NaN.
template <typename Test> void lowerTest(Call &c, bool ofInteger, Test test) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  if (!x.isFloat())
    return c.result(c.full(x.shape(), DType::Bool, ofInteger), at::kBool);
  c.result(test(Expr(c, x)), at::kBool);
}

void lowerIsNan(Call &c) {
  lowerTest(c, false, [](Expr x) { return notEqual(x, x); });
}
// Infinite is what exceeds the largest finite value: the bound saturates with the precision.
void lowerIsInf(Call &c) {
  lowerTest(c, false, [](Expr x) { return greater(absolute(x), FLT_MAX); });
}
void lowerIsFinite(Call &c) {
  lowerTest(c, true, [](Expr x) { return lessEqual(absolute(x), FLT_MAX); });
}
void lowerIsPosInf(Call &c) {
  lowerTest(c, false, [](Expr x) { return greater(x, FLT_MAX); });
}
void lowerIsNegInf(Call &c) {
  lowerTest(c, false, [](Expr x) { return less(x, -FLT_MAX); });
}
void lowerSignbit(Call &c) {
  Tensor x = c.tensor("self");
  if (!c.failed())
    c.result(x.isBool() ? Expr(c, c.full(x.shape(), DType::Bool, 0)) : signBit(Expr(c, x)),
             at::kBool);
}

void lowerNanToNum(Call &c) {
  Tensor x = c.tensor("self");
  double nan = c.optionalNumber("nan").value_or(0),
         high = c.optionalNumber("posinf").value_or(FLT_MAX),
         low = c.optionalNumber("neginf").value_or(-FLT_MAX);
  if (c.failed())
    return;
  if (!x.isFloat())
    return c.result(x);
  Expr e(c, x);
  Expr y = select(notEqual(e, e), nan, e);
  y = select(greater(e, FLT_MAX), high, y);
  c.result(select(less(e, -FLT_MAX), low, y), x.dtype);
}

/// A Scalar or tensor argument as a side of a choice: a number where it is known.
Term choice(Call &c, llvm::StringRef name, at::ScalarType dtype) {
  if (auto number = knownNumber(c, name))
    return *number;
  return Expr(c, c.operand(name, dtype));
}

void lowerWhere(Call &c) {
  Tensor condition = c.cast(c.tensor("condition"), at::kBool);
  at::ScalarType dtype = c.promote({"self", "other"});
  if (c.failed())
    return;
  Term a = choice(c, "self", dtype), b = choice(c, "other", dtype);
  if (!a.value && !b.value)
    b = Expr(c, c.operand("other", dtype));
  if (!c.failed())
    c.result(select(Expr(c, condition), a, b), dtype);
}

void lowerMaskedFill(Call &c) {
  Tensor x = c.tensor("self"), mask = c.cast(c.tensor("mask"), at::kBool);
  if (c.failed())
    return;
  Term value = choice(c, "value", x.dtype);
  if (!c.failed())
    c.result(select(Expr(c, mask), value, Expr(c, x)), x.dtype);
}

/// Whether each element is among those of another tensor: compared with every one of them.
void lowerIsIn(Call &c) {
  auto named = [&](llvm::StringRef many, llvm::StringRef one) {
    return c.schema().argumentIndexWithName(many.str()) ? many : one;
  };
  llvm::StringRef elements = named("elements", "element");
  llvm::StringRef tests = named("test_elements", "test_element");
  at::ScalarType dtype = c.promote({elements, tests});
  if (dtype == at::kBool)
    dtype = at::kInt;
  Tensor x = c.operand(elements, dtype), y = c.operand(tests, dtype);
  bool invert = c.boolean("invert");
  if (c.failed())
    return;
  Expr each = expandDims(Expr(c, x), {x.rank()});
  Expr same = equal(each, Expr(c, c.reshape(y.value, {numElements(y.shape())})));
  if (!same.valid())
    return;
  Expr count = reduce(OpKind::reduce_sum, castTo(same, DType::I32), {x.rank()}, false);
  c.result(invert ? equal(count, 0) : greater(count, 0), at::kBool);
}

/// Whether two tensors have one shape and equal elements: a Python bool.
void lowerEqual(Call &c) {
  Tensor x = c.tensor("self"), y = c.tensor("other");
  if (c.failed())
    return;
  bool same = x.rank() == y.rank();
  for (int64_t i = 0; same && i < x.rank(); ++i)
    same = !x.size(i).isConst() || !y.size(i).isConst() || x.size(i) == y.size(i);
  if (!same)
    return c.result(Val(c10::IValue(false)));
  at::ScalarType dtype = at::promote_types(x.dtype, y.dtype);
  Expr all = castTo(equal(Expr(c, c.cast(x, dtype)), Expr(c, c.cast(y, dtype))), mil::DType::I32);
  if (!all.valid())
    return;
  if (all.rank() > 0)
    all = reduce(OpKind::reduce_min, all, allAxes(all.rank()), /*keepDims=*/false);
  c.result(Val(Val::Number{castTo(all, mil::DType::Bool), c10::TypeKind::BoolType}));
}
} // namespace

void registerComparison(Table &table) {
  table.add({"aten::equal"}, lowerEqual);
  table.add({"aten::eq.Tensor", "aten::eq.Scalar"}, lowerCompare<OpKind::equal>);
  table.add(
      {"aten::ne.Tensor", "aten::ne.Scalar", "aten::not_equal.Tensor", "aten::not_equal.Scalar"},
      lowerCompare<OpKind::not_equal>);
  table.add({"aten::lt.Tensor", "aten::lt.Scalar", "aten::less.Tensor", "aten::less.Scalar"},
            lowerCompare<OpKind::less>);
  table.add(
      {"aten::le.Tensor", "aten::le.Scalar", "aten::less_equal.Tensor", "aten::less_equal.Scalar"},
      lowerCompare<OpKind::less_equal>);
  table.add({"aten::gt.Tensor", "aten::gt.Scalar", "aten::greater.Tensor", "aten::greater.Scalar"},
            lowerCompare<OpKind::greater>);
  table.add({"aten::ge.Tensor", "aten::ge.Scalar", "aten::greater_equal.Tensor",
             "aten::greater_equal.Scalar"},
            lowerCompare<OpKind::greater_equal>);
  table.add({"aten::isclose"}, lowerIsClose);
  table.add({"aten::isin.Tensor_Tensor", "aten::isin.Tensor_Scalar", "aten::isin.Scalar_Tensor"},
            lowerIsIn);
  table.add({"aten::logical_and"}, lowerLogical<OpKind::logical_and>);
  table.add({"aten::logical_or"}, lowerLogical<OpKind::logical_or>);
  table.add({"aten::logical_xor"}, lowerLogical<OpKind::logical_xor>);
  table.add({"aten::logical_not"}, lowerLogicalNot);
  table.add({"aten::bitwise_and.Tensor", "aten::bitwise_and.Scalar",
             "aten::bitwise_and.Scalar_Tensor", "aten::__and__.Tensor", "aten::__and__.Scalar"},
            lowerBitwise<OpKind::logical_and>);
  table.add({"aten::bitwise_or.Tensor", "aten::bitwise_or.Scalar", "aten::bitwise_or.Scalar_Tensor",
             "aten::__or__.Tensor", "aten::__or__.Scalar"},
            lowerBitwise<OpKind::logical_or>);
  table.add({"aten::bitwise_xor.Tensor", "aten::bitwise_xor.Scalar",
             "aten::bitwise_xor.Scalar_Tensor", "aten::__xor__.Tensor", "aten::__xor__.Scalar"},
            lowerBitwise<OpKind::logical_xor>);
  table.add({"aten::bitwise_not"}, lowerBitwiseNot);
  table.add({"aten::bitwise_left_shift.Tensor", "aten::bitwise_left_shift.Tensor_Scalar",
             "aten::__lshift__.Tensor", "aten::__lshift__.Scalar"},
            lowerShift<true>);
  table.add({"aten::bitwise_right_shift.Tensor", "aten::bitwise_right_shift.Tensor_Scalar",
             "aten::__rshift__.Tensor", "aten::__rshift__.Scalar"},
            lowerShift<false>);
  table.add({"aten::isnan"}, lowerIsNan);
  table.add({"aten::isinf"}, lowerIsInf);
  table.add({"aten::isfinite"}, lowerIsFinite);
  table.add({"aten::isposinf"}, lowerIsPosInf);
  table.add({"aten::isneginf"}, lowerIsNegInf);
  table.add({"aten::signbit"}, lowerSignbit);
  table.add({"aten::nan_to_num"}, lowerNanToNum);
  table.add({"aten::where.self", "aten::where.ScalarOther", "aten::where.ScalarSelf",
             "aten::where.Scalar"},
            lowerWhere);
  table.add({"aten::masked_fill.Scalar", "aten::masked_fill.Tensor"}, lowerMaskedFill);
  table.setLeavesRange({"aten::bitwise_not", "aten::bitwise_left_shift.Tensor",
                        "aten::bitwise_left_shift.Tensor_Scalar", "aten::__lshift__.Tensor",
                        "aten::__lshift__.Scalar"});
}

} // namespace plait::frontend
