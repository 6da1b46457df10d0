// Arithmetic of Python numbers that only exist at run time (`x.item()`, a loop's counter, a length
// that a tensor decides): rank-0 MIL values, int32, fp32 or bool. What MIL has one operation for is
// emitted here; mathematical functions go the way of 0-d tensors, so that there is one lowering of
// each.
#pragma once

#include "frontend/engine/ValueCall.h"

#include <limits>
#include <numbers>

namespace plait::frontend {

/// One operation while it is computed.
class Numbers {
public:
  using OpKind = mil::OpKind;
  using DType = mil::DType;
  using Rule = mil::Value *(Numbers::*)();
  /// The result of `rule`, as TorchScript's interpreter computes it; nullopt where the arguments
  /// are no numbers, or all known. Floats are fp32, where TorchScript has doubles.
  static Handled run(ValueCall &call, Rule rule);

  // ---- operands ----
  mil::Value *as(unsigned index, DType dtype) { return engine_.scalar(arguments_[index], dtype); }
  mil::Value *real(unsigned index) { return as(index, DType::F32); }
  /// In the type that both operands fit.
  mil::Value *common(unsigned index) { return as(index, floats_ ? DType::F32 : DType::I32); }
  std::optional<int64_t> knownInt(unsigned index) const {
    auto known = arguments_[index].known();
    return known && known->isInt() ? std::optional(known->toInt()) : std::nullopt;
  }

  // ---- MIL ----
  mil::Value *emit(OpKind kind, mil::Value *x) {
    return builder_.emit(kind, {{mil::abs::x, x}}); // rows of one operand have x first
  }
  mil::Value *emit(OpKind kind, mil::Value *x, mil::Value *y) {
    return builder_.emit(kind, {{mil::add::x, x}, {mil::add::y, y}}); // and of two x and y
  }
  /// Of the element type of `like`, which may be poison.
  mil::Value *number(mil::Value *like, double value) {
    return mil::Builder::isPoison(like) ? like : builder_.scalar(like->type.dtype(), value);
  }
  /// A lowering of 0-d tensors.
  mil::Value *tensorOp(const char *name, const char *overload, llvm::ArrayRef<mil::Value *> values,
                       at::ScalarType dtype = at::kFloat);

  // ---- arithmetic ----
  mil::Value *add() { return emit(OpKind::add, common(0), common(1)); }
  mil::Value *sub() { return emit(OpKind::sub, common(0), common(1)); }
  mil::Value *mul() { return emit(OpKind::mul, common(0), common(1)); }
  mil::Value *div() { return emit(OpKind::real_div, real(0), real(1)); }
  // Towards minus infinity, and the sign of the divisor, as in Python.
  mil::Value *floorDiv() { return emit(OpKind::floor_div, common(0), common(1)); }
  mil::Value *remainder() { return emit(OpKind::mod, common(0), common(1)); }
  mil::Value *truncDiv() {
    mil::Value *a = common(0), *b = common(1);
    mil::Value *magnitude = emit(OpKind::floor_div, emit(OpKind::abs, a), emit(OpKind::abs, b));
    return emit(OpKind::mul, magnitude,
                emit(OpKind::mul, emit(OpKind::sign, a), emit(OpKind::sign, b)));
  }
  /// C's: the sign of the dividend.
  mil::Value *fmod() {
    mil::Value *a = real(0);
    mil::Value *magnitude = emit(OpKind::mod, emit(OpKind::abs, a), emit(OpKind::abs, real(1)));
    return emit(OpKind::mul, magnitude, emit(OpKind::sign, a));
  }
  /// IEEE's: a - b * (a / b rounded to the nearest even integer).
  mil::Value *mathRemainder() {
    mil::Value *a = real(0), *b = real(1);
    return emit(OpKind::sub, a,
                emit(OpKind::mul, b, emit(OpKind::round, emit(OpKind::real_div, a, b))));
  }
  mil::Value *pow() {
    bool integers = resultKind() == c10::TypeKind::IntType;
    DType dtype = integers ? DType::I32 : DType::F32;
    return emit(OpKind::pow, as(0, dtype), as(1, dtype));
  }
  mil::Value *neg() {
    mil::Value *x = common(0);
    return emit(OpKind::mul, x, number(x, -1));
  }
  mil::Value *abs() { return emit(OpKind::abs, common(0)); }
  mil::Value *fabs() { return emit(OpKind::abs, real(0)); }
  mil::Value *extreme(OpKind kind) {
    mil::Value *result = common(0);
    for (unsigned i = 1; i < count(); ++i)
      result = emit(kind, result, common(i));
    return result;
  }
  mil::Value *min() { return extreme(OpKind::minimum); }
  mil::Value *max() { return extreme(OpKind::maximum); }

  // ---- rounding and conversion ----
  mil::Value *convert() {
    return as(0, resultKind() == c10::TypeKind::IntType    ? DType::I32
                 : resultKind() == c10::TypeKind::BoolType ? DType::Bool
                                                           : DType::F32);
  }
  mil::Value *rounded(OpKind kind) { return floats_ ? emit(kind, real(0)) : common(0); }
  mil::Value *round() { return rounded(OpKind::round); }
  mil::Value *floor() { return rounded(OpKind::floor); }
  mil::Value *ceil() { return rounded(OpKind::ceil); }

  // ---- comparison and logic ----
  template <OpKind kind> mil::Value *compare() { return emit(kind, common(0), common(1)); }
  bool logical() const { return resultKind() == c10::TypeKind::BoolType; }
  template <OpKind kind> mil::Value *logic() {
    return logical() ? emit(kind, as(0, DType::Bool), as(1, DType::Bool)) : bits();
  }
  mil::Value *bits(); ///< the tensor operation on integers
  mil::Value *logicalAnd();
  mil::Value *logicalNot() { return emit(OpKind::logical_not, as(0, DType::Bool)); }
  mil::Value *powerOfTwo(unsigned index) {
    mil::Value *exponent = as(index, DType::I32);
    return emit(OpKind::pow, number(exponent, 2), exponent);
  }
  mil::Value *shiftLeft() { return emit(OpKind::mul, as(0, DType::I32), powerOfTwo(1)); }
  mil::Value *shiftRight() { return emit(OpKind::floor_div, as(0, DType::I32), powerOfTwo(1)); }
  mil::Value *isNan() {
    mil::Value *x = real(0);
    return emit(OpKind::not_equal, x, x);
  }
  mil::Value *isInf() {
    mil::Value *x = real(0);
    return emit(OpKind::equal, emit(OpKind::abs, x),
                number(x, std::numeric_limits<double>::infinity()));
  }
  mil::Value *isFinite() {
    mil::Value *x = real(0);
    return emit(OpKind::less, emit(OpKind::abs, x),
                number(x, std::numeric_limits<double>::infinity()));
  }

  // ---- mathematics ----
  mil::Value *sqrt() { return emit(OpKind::sqrt, real(0)); }
  mil::Value *log() {
    mil::Value *x = tensorOp("aten::log", "", {real(0)});
    return count() == 1 ? x : emit(OpKind::real_div, x, tensorOp("aten::log", "", {real(1)}));
  }
  mil::Value *scaled(double factor) {
    mil::Value *x = real(0);
    return emit(OpKind::mul, x, number(x, factor));
  }
  mil::Value *degrees() { return scaled(180 / std::numbers::pi); }
  mil::Value *radians() { return scaled(std::numbers::pi / 180); }
  mil::Value *ldexp() {
    mil::Value *exponent = real(1);
    return emit(OpKind::mul, real(0), emit(OpKind::pow, number(exponent, 2), exponent));
  }
  /// The tensor operation of the same name.
  mil::Value *function() { return tensorOp(schema_.name().c_str(), "", {real(0)}); }
  mil::Value *function2() { return tensorOp(schema_.name().c_str(), "", {real(0), real(1)}); }
  mil::Value *copysign() { return tensorOp("aten::copysign", "Tensor", {real(0), real(1)}); }

  // ---- loops ----
  mil::Value *rangeLength() { // max(ceil((end - start) / step), 0) for any sign of the step
    mil::Value *back = emit(OpKind::sub, as(0, DType::I32), as(1, DType::I32));
    mil::Value *steps = emit(OpKind::floor_div, back, as(2, DType::I32));
    return emit(OpKind::maximum, emit(OpKind::mul, steps, number(steps, -1)), number(steps, 0));
  }
  mil::Value *deriveIndex() {
    mil::Value *offset = emit(OpKind::mul, as(0, DType::I32), as(2, DType::I32));
    return emit(OpKind::add, as(1, DType::I32), offset);
  }

private:
  Numbers(Engine &engine, const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments);

  size_t count() const { return arguments_.size(); }
  /// As the schema says; of a Scalar what the operands make of it.
  c10::TypeKind resultKind() const;

  Engine &engine_;
  mil::Builder &builder_;
  const c10::FunctionSchema &schema_;
  llvm::ArrayRef<Val> arguments_;
  bool floats_;
};

/// A row of one rule.
template <Numbers::Rule rule> Handled number(ValueCall &call) { return Numbers::run(call, rule); }

} // namespace plait::frontend
