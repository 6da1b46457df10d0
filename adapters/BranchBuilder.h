// Arithmetic on MIL values, in the forms in which a traced branch is lowered, so that passes find
// those that are kept and those that are folded alike. Everything floating is computed in fp32, as
// PEFT computes adapters of fp16 and bf16 (it loads them as fp32). Changes of shape of constants
// stay views.
#pragma once

#include "mil/Builder.h"

namespace plait::adapters {

using mil::Dim;
using mil::Shape;
using mil::TensorData;
using mil::Value;

class BranchBuilder {
public:
  explicit BranchBuilder(mil::Builder &builder) : builder_(builder) {}

  mil::Builder &builder() const { return builder_; }
  void fail(Error error) { builder_.fail(std::move(error)); }
  Value *poison() { return builder_.poison(); }

  /// A tensor of the model or of an adapter, seen as fp32.
  Value *constant(const TensorData &tensor, llvm::StringRef hint);
  /// What is behind such a constant; `value` is one.
  TensorData data(const Value *value) const;

  Value *linear(Value *x, Value *weight); ///< x W', W [out, in]
  Value *matmul(Value *x, Value *y);
  Value *add(Value *x, Value *y) { return binary(mil::OpKind::add, x, y); }
  Value *mul(Value *x, Value *y) { return binary(mil::OpKind::mul, x, y); }
  Value *mul(Value *x, double factor);
  Value *div(Value *x, Value *y) { return binary(mil::OpKind::real_div, x, y); }
  Value *sum(Value *x, int64_t axis);
  /// The Euclidean norm along the last axis, which goes.
  Value *norm(Value *x);
  Value *cast(Value *x, mil::DType dtype);
  Value *reshape(Value *x, llvm::ArrayRef<Dim> shape);
  Value *permute(Value *x, llvm::ArrayRef<int64_t> axes);
  Value *swapLast(Value *x); ///< the last two axes
  Value *expand(Value *x, int64_t axis);
  Value *squeeze(Value *x, int64_t axis);
  /// Zeros behind the last axis, so many that it has `count` elements.
  Value *widen(Value *x, int64_t count);
  /// Elements begin, begin + step … of an axis, `count` of them.
  Value *slice(Value *x, int64_t axis, int64_t begin, int64_t count, int64_t step = 1);
  /// Rows of x, whose first axis the indices count.
  Value *gather(Value *x, Value *indices);
  /// x with `rows` in place of its slices at `indices`, a vector of constants.
  Value *putRows(Value *x, llvm::ArrayRef<int64_t> indices, Value *rows, int64_t axis);
  /// a where the mask is true, else b, which has the result's shape.
  Value *select(Value *mask, Value *a, Value *b);

  /// The shape of a tensor; empty of poison.
  static Shape shapeOf(const Value *x);

private:
  Value *binary(mil::OpKind kind, Value *x, Value *y);
  Value *product(Value *x, Value *y, bool transposed);
  Value *linearOp(Value *x, Value *weight);
  Value *materialise(llvm::ArrayRef<Dim> shape);
  Value *broadcast(Value *x, llvm::ArrayRef<Dim> shape);

  mil::Builder &builder_;
};

} // namespace plait::adapters
