// Arithmetic on MIL values, for lowerings that are formulas:
//
//     Expr x = c.tensor("self") …;  c.result(x * sigmoid(x), dtype);
//
// Operands broadcast as NumPy's do; a number takes the element type of the other operand. Nothing
// is promoted or cast here: both operands of an operation have one element type.
#pragma once

#include "frontend/engine/Call.h"

namespace plait::frontend {

using mil::OpKind;
using mil::Value;

class Expr {
public:
  Expr(Call &c, Value *value) : call_(&c), value_(value) {}
  Expr(Call &c, const Tensor &tensor) : Expr(c, tensor.value) {}

  Call &call() const { return *call_; }
  Value *value() const { return value_; }
  operator Value *() const { return value_; }
  Sizes shape() const { return value_->type.shape(); }
  int64_t rank() const { return shape().size(); }
  mil::DType dtype() const { return value_->type.dtype(); }
  /// False for poison, which has neither shape nor element type.
  bool valid() const { return value_->type.isTensor(); }

private:
  Call *call_;
  Value *value_;
};

/// An operand that is a value or a number.
struct Term {
  Term(const Expr &expr) : value(expr.value()), call(&expr.call()) {}
  Term(double number) : number(number) {}
  Term(int number) : number(number) {}

  Value *value = nullptr;
  double number = 0;
  Call *call = nullptr;
};

Expr unary(OpKind kind, const Expr &x);
/// At least one of the operands is a value.
Expr binary(OpKind kind, const Term &x, const Term &y);

inline Expr operator+(const Term &x, const Term &y) { return binary(OpKind::add, x, y); }
inline Expr operator-(const Term &x, const Term &y) { return binary(OpKind::sub, x, y); }
inline Expr operator*(const Term &x, const Term &y) { return binary(OpKind::mul, x, y); }
/// Of floats; integers go through floorDivide or truncateDivide.
inline Expr operator/(const Term &x, const Term &y) { return binary(OpKind::real_div, x, y); }
inline Expr operator-(const Expr &x) { return x * -1; }
// Overloads that prefer Expr over the built-in pointer arithmetic that the conversion would allow.
inline Expr operator+(const Expr &x, const Expr &y) { return binary(OpKind::add, x, y); }
inline Expr operator-(const Expr &x, const Expr &y) { return binary(OpKind::sub, x, y); }
inline Expr operator*(const Expr &x, const Expr &y) { return binary(OpKind::mul, x, y); }
inline Expr operator/(const Expr &x, const Expr &y) { return binary(OpKind::real_div, x, y); }
inline Expr operator+(const Expr &x, double y) { return binary(OpKind::add, x, y); }
inline Expr operator-(const Expr &x, double y) { return binary(OpKind::sub, x, y); }
inline Expr operator*(const Expr &x, double y) { return binary(OpKind::mul, x, y); }
inline Expr operator/(const Expr &x, double y) { return binary(OpKind::real_div, x, y); }
inline Expr operator+(double x, const Expr &y) { return binary(OpKind::add, x, y); }
inline Expr operator-(double x, const Expr &y) { return binary(OpKind::sub, x, y); }
inline Expr operator*(double x, const Expr &y) { return binary(OpKind::mul, x, y); }
inline Expr operator/(double x, const Expr &y) { return binary(OpKind::real_div, x, y); }

inline Expr maximum(const Term &x, const Term &y) { return binary(OpKind::maximum, x, y); }
inline Expr minimum(const Term &x, const Term &y) { return binary(OpKind::minimum, x, y); }
inline Expr power(const Term &x, const Term &y) { return binary(OpKind::pow, x, y); }
inline Expr equal(const Term &x, const Term &y) { return binary(OpKind::equal, x, y); }
inline Expr notEqual(const Term &x, const Term &y) { return binary(OpKind::not_equal, x, y); }
inline Expr less(const Term &x, const Term &y) { return binary(OpKind::less, x, y); }
inline Expr lessEqual(const Term &x, const Term &y) { return binary(OpKind::less_equal, x, y); }
inline Expr greater(const Term &x, const Term &y) { return binary(OpKind::greater, x, y); }
inline Expr greaterEqual(const Term &x, const Term &y) {
  return binary(OpKind::greater_equal, x, y);
}
inline Expr logicalAnd(const Expr &x, const Expr &y) { return binary(OpKind::logical_and, x, y); }
inline Expr logicalOr(const Expr &x, const Expr &y) { return binary(OpKind::logical_or, x, y); }
inline Expr logicalNot(const Expr &x) { return unary(OpKind::logical_not, x); }

inline Expr absolute(const Expr &x) { return unary(OpKind::abs, x); }
inline Expr exponential(const Expr &x) { return unary(OpKind::exp, x); }
/// ln(x), with no epsilon.
Expr logarithm(const Expr &x);
inline Expr squareRoot(const Expr &x) { return unary(OpKind::sqrt, x); }
inline Expr floorOf(const Expr &x) { return unary(OpKind::floor, x); }
inline Expr sigmoidOf(const Expr &x) { return unary(OpKind::sigmoid, x); }
inline Expr signOf(const Expr &x) { return unary(OpKind::sign, x); }
/// Where the sign bit is set, that of -0 too.
Expr signBit(const Expr &x);
/// log(e^x + e^y), in base e or 2; infinities too.
Expr logAddExp(const Expr &x, const Expr &y, bool base2 = false);
/// Rounds towards zero; integers are left alone.
Expr truncate(const Expr &x);
Expr castTo(const Expr &x, mil::DType dtype);
/// Floats bounded from below and above.
Expr clamp(const Expr &x, double low, double high);

/// a where cond, else b: operands are broadcast explicitly, since loaders of multifunction packages
/// fail on implicit broadcasting here. One of a and b may be a number.
Expr select(const Expr &cond, const Term &a, const Term &b);

/// Integer or float quotient rounded and then rounded down, or towards zero, exactly as PyTorch
/// does it.
Expr floorDivide(const Expr &x, const Expr &y);
Expr truncateDivide(const Expr &x, const Expr &y);
/// The floor of a float quotient before it is rounded, as PyTorch's floor_divide gives it: 1 // 0.1
/// is 9, for 0.1 is a little more than a tenth.
Expr flooredQuotient(const Expr &x, const Expr &y);
/// What floorDivide leaves: the result has y's sign.
Expr remainderOf(const Expr &x, const Expr &y);
/// What truncateDivide leaves: the result has x's sign.
Expr fmodOf(const Expr &x, const Expr &y);

/// A reduction; axes in [0, rank), not empty.
Expr reduce(OpKind kind, const Expr &x, llvm::ArrayRef<int64_t> axes, bool keepDims);
/// x * y as matrices over the last two axes, the others broadcast; both of rank 2 or more.
Expr matmul(const Expr &x, const Expr &y, bool transposeX = false, bool transposeY = false);
Expr concat(Call &c, llvm::ArrayRef<Value *> values, int64_t axis);
/// Elements [begin, end) with a step along one axis; Dims may be symbolic.
Expr slice(const Expr &x, int64_t axis, const Dim &begin, const Dim &end, int64_t step = 1);
/// Elements along `axis` at the given positions (known non-negative, any rank).
Expr gather(const Expr &x, const Expr &indices, int64_t axis);
Expr expandDims(const Expr &x, llvm::ArrayRef<int64_t> axes);
Expr squeeze(const Expr &x, llvm::ArrayRef<int64_t> axes);
/// 0 … n - 1 as int32; a constant where n is.
Expr iota(Call &c, const Dim &n);
/// An int32 scalar for a Dim, a constant where it is one.
inline Expr sizeOf(Call &c, const Dim &dim) { return Expr(c, c.materialise(dim)); }
/// Indices with the size added where they are negative (MIL's gathers do not wrap them). Constant
/// indices are normalised while compiling.
Expr wrapIndices(const Expr &indices, const Dim &size);

/// The broadcast of shapes; refuses and gives nullopt where constants disagree.
std::optional<Shape> broadcastShapes(Call &c, llvm::ArrayRef<llvm::ArrayRef<Dim>> shapes);
/// Product of the sizes of some axes.
Dim sizeOfAxes(llvm::ArrayRef<Dim> shape, llvm::ArrayRef<int64_t> axes);
/// 0, 1, … rank - 1.
llvm::SmallVector<int64_t, 6> allAxes(int64_t rank);
/// An axes argument in the order given, each in [0, rank).
llvm::SmallVector<int64_t, 6> orderedAxes(Call &c, llvm::StringRef name, int64_t rank);
/// Float arguments as they are, int and bool ones as the default float type: what PyTorch does
/// before exp, mean and the like.
Tensor toFloat(Call &c, Tensor x);
/// A Scalar argument where it is known while compiling.
std::optional<double> knownNumber(Call &c, llvm::StringRef name);
/// x times a Scalar argument, known or not; x itself for a known 1.
Expr timesArgument(Call &c, const Expr &x, llvm::StringRef name);

} // namespace plait::frontend
