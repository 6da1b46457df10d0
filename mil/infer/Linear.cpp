// Shape functions of matrix products and attention.
#include "mil/infer/Shapes.h"

namespace plait::mil::infer {

Error linear(InferContext &c) {
  auto weight = c.shape(linear::weight);
  if (c.rank(linear::x) < 1 || weight.size() != 2)
    return c.fail("x has shape {0} and weight {1}; x needs rank 1 or more and weight rank 2",
                  str(c.shape(linear::x)), str(weight));
  Dim in = c.shape(linear::x).back();
  if (!maybeEqual(in, weight[1]))
    return c.fail("x has {0} features where weight takes {1}", in.str(), weight[1].str());
  if (c.has(linear::bias) && !maybeEqual(c.shape(linear::bias), weight[0]))
    return c.fail("bias has shape {0} for {1} results", str(c.shape(linear::bias)),
                  weight[0].str());
  Shape shape(c.shape(linear::x));
  shape.back() = weight[0];
  return c.result(c.dtype(linear::x), shape);
}

Error matmul(InferContext &c) {
  Shape x(c.shape(matmul::x)), y(c.shape(matmul::y));
  bool transposeX = c.constBool(matmul::transpose_x).value_or(false);
  bool vector = x.size() == 1;
  if (x.empty() || y.size() < 2 || (vector && transposeX))
    return c.fail("operands of shapes {0} and {1}; rank 2 or more is needed", str(x), str(y));
  if (vector)
    x.insert(x.begin(), Dim(1));
  if (transposeX)
    std::swap(x[x.size() - 1], x[x.size() - 2]);
  if (c.constBool(matmul::transpose_y).value_or(false))
    std::swap(y[y.size() - 1], y[y.size() - 2]);
  // One constant operand may have another element type: the result follows the other.
  DType dtype = c.dtype(matmul::x);
  bool constX = constAttr(c.op()[matmul::x]), constY = constAttr(c.op()[matmul::y]);
  if (constX == constY && dtype != c.dtype(matmul::y))
    return c.fail("x is {0} and y {1}", name(dtype), name(c.dtype(matmul::y)));
  if (constX && !constY)
    dtype = c.dtype(matmul::y);
  Dim inner = x.pop_back_val(), columns = y.pop_back_val(), inner2 = y.pop_back_val(),
      rows = x.pop_back_val();
  if (!maybeEqual(inner, inner2))
    return c.fail("inner dimensions {0} and {1} differ", inner.str(), inner2.str());
  auto shape = broadcast(x, y);
  if (!shape)
    return addContext(shape.takeError(), "matmul");
  if (!vector)
    shape->push_back(rows);
  shape->push_back(columns);
  return c.result(dtype, *shape);
}

/// nchw,nwhu->nchu and chw,whr->chr, whatever the letters.
Error einsum(InferContext &c) {
  llvm::StringRef equation = c.constString(einsum::equation).value_or("");
  std::string letters, canonical;
  for (char ch : equation) {
    if (ch == ' ')
      continue;
    if (!isalpha(static_cast<unsigned char>(ch))) {
      canonical += ch;
      continue;
    }
    size_t index = letters.find(ch);
    if (index == std::string::npos) {
      index = letters.size();
      letters += ch;
    }
    canonical += char('a' + index);
  }
  bool batched = canonical == "abcd,adce->abce";
  if (!batched && canonical != "abc,cbd->abd")
    return c.fail("equation \"{0}\"; only nchw,nwhu->nchu and chw,whr->chr exist", equation);
  auto values = c.op().operands(einsum::values);
  if (values.size() != 2)
    return c.fail("{0} operands; two are needed", values.size());
  auto x = values[0]->type.shape(), y = values[1]->type.shape();
  size_t rank = batched ? 4 : 3;
  if (x.size() != rank || y.size() != rank)
    return c.fail("operands of shapes {0} and {1} for equation \"{2}\"", str(x), str(y), equation);
  auto mismatch = [&] {
    return c.fail("operands of shapes {0} and {1} do not match", str(x), str(y));
  };
  if (!maybeEqual(x[rank - 1], y[rank - 3]))
    return mismatch();
  auto common = [](const Dim &a, const Dim &b) { return broadcast(a, b); };
  auto height = common(x[rank - 2], y[rank - 2]);
  if (!height) {
    llvm::consumeError(height.takeError());
    return mismatch();
  }
  Shape shape;
  if (batched) {
    auto batch = common(x[0], y[0]);
    if (!batch) {
      llvm::consumeError(batch.takeError());
      return mismatch();
    }
    shape.push_back((*batch)[0]);
  }
  shape.append({x[rank - 3], (*height)[0], y[rank - 1]});
  return c.result(values[0]->type.dtype(), shape);
}

Error scaledDotProductAttention(InferContext &c) {
  using namespace scaled_dot_product_attention;
  auto q = c.shape(query), k = c.shape(key), v = c.shape(value);
  size_t rank = q.size();
  if (rank < 3 || k.size() != rank || v.size() != rank)
    return c.fail("query, key and value have shapes {0}, {1} and {2}; one rank of at least 3 is "
                  "needed",
                  str(q), str(k), str(v));
  auto batch = [](llvm::ArrayRef<Dim> shape) { return shape.drop_back(2); };
  if (!maybeEqual(batch(q), batch(k)) || !maybeEqual(batch(q), batch(v)))
    return c.fail(
        "query, key and value of shapes {0}, {1} and {2} differ in their batch dimensions", str(q),
        str(k), str(v));
  if (!maybeEqual(q[rank - 1], k[rank - 1]))
    return c.fail("query has {0} features and key {1}", q[rank - 1].str(), k[rank - 1].str());
  if (!maybeEqual(k[rank - 2], v[rank - 2]))
    return c.fail("key has length {0} and value {1}", k[rank - 2].str(), v[rank - 2].str());
  if (c.has(attn_mask)) {
    auto mask = c.shape(attn_mask);
    if (mask.empty() || !maybeEqual(mask.back(), k[rank - 2]))
      return c.fail("attn_mask of shape {0} does not fit a key of length {1}", str(mask),
                    k[rank - 2].str());
    if (auto rows = broadcast(q.drop_back(), mask.drop_back()); !rows)
      return addContext(rows.takeError(), "scaled_dot_product_attention: attn_mask");
  }
  Shape shape(q);
  shape.back() = v.back();
  return c.result(c.dtype(query), shape);
}

} // namespace plait::mil::infer
