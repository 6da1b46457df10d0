// Shape functions of constants, elementwise, linear and reshaping operations.
#include "mil/Infer.h"

#include "llvm/ADT/SmallBitVector.h"

namespace plait::mil::infer {

Error constant(InferContext &c) { return c.result(c.op().val().type()); }

Error sameAsX(InferContext &c) { return c.result(c.type(0)); }

Error softmax(InferContext &c) {
  if (auto axis = c.axis(softmax::axis, c.rank(softmax::x), -1); !axis)
    return axis.takeError();
  return c.result(c.type(softmax::x));
}

Error cast(InferContext &c) {
  auto dtype = parseDType(c.constString(cast::dtype).value_or(""));
  if (!dtype || !contains(c.op().info().params[cast::x].domain, *dtype))
    return makeError("cast: '{0}' is no element type to cast to",
                     c.constString(cast::dtype).value_or(""));
  return c.result(*dtype, c.shape(cast::x));
}

Error binary(InferContext &c) {
  auto shape = broadcast(c.shape(0), c.shape(1));
  if (!shape)
    return addContext(shape.takeError(), c.op().info().name);
  return c.result(c.dtype(0), *shape);
}

Error linear(InferContext &c) {
  auto weight = c.shape(linear::weight);
  if (c.rank(linear::x) < 1 || weight.size() != 2)
    return makeError(
        "linear: x has shape {0} and weight {1}; x needs rank 1 or more and weight rank 2",
        str(c.shape(linear::x)), str(weight));
  Dim in = c.shape(linear::x).back();
  if (in.isConst() && !(in == weight[1]))
    return makeError("linear: x has {0} features where weight takes {1}", in.str(),
                     weight[1].str());
  Shape shape(c.shape(linear::x));
  shape.back() = weight[0];
  return c.result(c.dtype(linear::x), shape);
}

Error matmul(InferContext &c) {
  Shape x(c.shape(matmul::x)), y(c.shape(matmul::y));
  if (x.size() < 2 || y.size() < 2)
    return makeError("matmul: operands of shapes {0} and {1}; rank 2 or more is needed", str(x),
                     str(y));
  if (c.constBool(matmul::transpose_x).value_or(false))
    std::swap(x[x.size() - 1], x[x.size() - 2]);
  if (c.constBool(matmul::transpose_y).value_or(false))
    std::swap(y[y.size() - 1], y[y.size() - 2]);
  Dim inner = x.pop_back_val(), columns = y.pop_back_val(), inner2 = y.pop_back_val(),
      rows = x.pop_back_val();
  if (inner.isConst() && inner2.isConst() && !(inner == inner2))
    return makeError("matmul: inner dimensions {0} and {1} differ", inner.str(), inner2.str());
  auto shape = broadcast(x, y);
  if (!shape)
    return addContext(shape.takeError(), "matmul");
  shape->push_back(rows);
  shape->push_back(columns);
  return c.result(c.dtype(matmul::x), *shape);
}

Error transpose(InferContext &c) {
  auto perm = c.constInts(transpose::perm);
  auto shape = c.shape(transpose::x);
  llvm::SmallBitVector seen(shape.size());
  Shape result;
  for (int64_t axis : perm.value_or(llvm::SmallVector<int64_t, 8>())) {
    axis = axis < 0 ? axis + int64_t(shape.size()) : axis;
    if (axis < 0 || axis >= int64_t(shape.size()) || seen[axis])
      break;
    seen.set(axis);
    result.push_back(shape[axis]);
  }
  if (!perm || result.size() != shape.size() || perm->size() != shape.size())
    return makeError("transpose: perm is no permutation of the {0} axes of x", shape.size());
  return c.result(c.dtype(transpose::x), result);
}

Error reshape(InferContext &c) {
  auto target = c.constInts(reshape::shape);
  Dim total = numElements(c.shape(reshape::x));
  Shape result;
  if (!target) {
    auto rank = c.shape(reshape::shape);
    if (rank.size() != 1 || !rank[0].isConst())
      return makeError("reshape: shape must be a vector of known length");
    for (int64_t i = 0; i < rank[0].value(); ++i)
      result.push_back(Dim::unknown());
    return c.result(c.dtype(reshape::x), result);
  }
  int inferred = -1;
  Dim known = 1;
  for (auto [i, size] : llvm::enumerate(*target)) {
    Dim d = size;
    if (size == 0) { // copies the dimension of x
      if (i >= c.rank(reshape::x))
        return makeError("reshape: 0 at axis {0} of shape copies a dimension that x does not have",
                         i);
      d = c.shape(reshape::x)[i];
    } else if (size == -1) {
      if (inferred >= 0)
        return makeError("reshape: shape has more than one -1");
      inferred = i;
    } else if (size < -1) {
      return makeError("reshape: shape has the negative size {0}", size);
    }
    if (size != -1)
      known = known * d;
    result.push_back(d);
  }
  if (inferred >= 0)
    result[inferred] = floordiv(total, known);
  if (Dim n = numElements(result); n.isConst() && total.isConst() && !(n == total))
    return makeError("reshape: x of shape {0} does not fit shape {1}", str(c.shape(reshape::x)),
                     str(result));
  return c.result(c.dtype(reshape::x), result);
}

} // namespace plait::mil::infer
