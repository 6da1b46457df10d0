// Linear layers and products of matrices and vectors. A constant right-hand matrix becomes the
// (lazily transposed) weight of MIL's linear, which is what Core ML optimises for.
#include "frontend/lower/Contract.h"
#include "frontend/lower/Families.h"

namespace plait::frontend {

using namespace mil;

static bool isFloatConstant(Value *value, unsigned rank) {
  return constTensor(value) && value->type.rank() == rank && value->type.dtype() == DType::F32;
}

/// Of x of any rank: coremltools writes it of rank 4 (ConvNeXt) and tests it up to 5; limit-rank
/// joins axes of more.
static Expr linearOp(const Expr &x, Value *weight, Value *bias) {
  Call &c = x.call();
  return Expr(c, c.emit(OpKind::linear,
                        {{linear::x, x.value()}, {linear::weight, weight}, {linear::bias, bias}}));
}

Expr linearLayer(const Expr &x, Value *weight, Value *bias) {
  Call &c = x.call();
  if (!x.valid() || !weight->type.isTensor())
    return Expr(c, c.builder().poison());
  bool constantWeight =
      isCompileTime(weight) && weight->type.rank() == 2 && x.dtype() == DType::F32;
  // A bias of one element or a computed one is added on its own.
  bool fused =
      !bias || (isCompileTime(bias) && bias->type.rank() == 1 && weight->type.rank() == 2 &&
                bias->type.shape()[0] == weight->type.shape()[0]);
  Value *own = constantWeight && fused ? bias : nullptr;
  Expr w(c, weight);
  Expr y = constantWeight ? linearOp(x, weight, own)
           : weight->type.rank() == 2 && x.rank() >= 2
               ? matmul(x, w, false, /*transposeY=*/true)
               : matrixProduct(x, weight->type.rank() == 2 ? Expr(c, c.permute(w, {1, 0})) : w);
  return bias && !own ? y + Expr(c, bias) : y;
}

Expr matrixProduct(const Expr &x, const Expr &y) {
  Call &c = x.call();
  if (!x.valid() || !y.valid())
    return Expr(c, c.builder().poison());
  if (x.rank() == 0 || y.rank() == 0) {
    c.refuse(Code::OperandMismatch, "both operands need rank 1 or more");
    return Expr(c, c.builder().poison());
  }
  if (x.rank() == 1 && y.rank() == 1)
    return reduce(OpKind::reduce_sum, x * y, {0}, false);
  if (isFloatConstant(y, 2) && x.dtype() == DType::F32 && !isCompileTime(x))
    return linearOp(x, c.builder().constant(constTensor(y)->permute({1, 0}), y.value()->name),
                    nullptr);
  // Vectors become matrices of one row or column, which goes again.
  Expr a = x.rank() == 1 ? expandDims(x, {0}) : x;
  Expr b = y.rank() == 1 ? expandDims(y, {1}) : y;
  Expr product = matmul(a, b);
  if (!product.valid())
    return product;
  if (x.rank() == 1)
    return squeeze(product, {product.rank() - 2});
  if (y.rank() == 1)
    return squeeze(product, {product.rank() - 1});
  return product;
}

namespace {
/// Two operands of one element type: PyTorch promotes none here.
std::pair<Tensor, Tensor> factors(Call &c, llvm::StringRef first, llvm::StringRef second) {
  Tensor x = c.tensor(first), y = c.tensor(second);
  if (!c.failed() && x.milType() != y.milType())
    c.refuse(Code::UnsupportedType,
             "'{0}' is {1} and '{2}' is {3}, where PyTorch needs one element type; declare the "
             "model's input in the type that it was made for",
             first, c10::toString(x.dtype), second, c10::toString(y.dtype));
  return {x, y};
}

void lowerLinear(Call &c) {
  auto [x, weight] = factors(c, "input", "weight");
  Tensor bias = c.optionalTensor("bias");
  // One row stays a row, whatever axes of size 1 its bias has.
  if (!c.failed() && bias && x.rank() == 1 && bias.rank() > 1)
    bias.value = c.reshape(bias.value, {weight.size(0)});
  if (!c.failed())
    c.result(linearLayer(Expr(c, x), weight.value, bias.value), x.dtype);
}

void multiplyOperands(Call &c, llvm::StringRef first, llvm::StringRef second) {
  auto [x, y] = factors(c, first, second);
  if (c.failed())
    return;
  c.result(matrixProduct(Expr(c, x), Expr(c, y)),
           c.has("out_dtype") ? *c.optionalDType("out_dtype") : x.dtype);
}

void lowerMatmul(Call &c) { multiplyOperands(c, "self", "other"); }
void lowerMm(Call &c) { multiplyOperands(c, "self", "mat2"); }
void lowerMv(Call &c) { multiplyOperands(c, "self", "vec"); }
void lowerDot(Call &c) {
  multiplyOperands(c, "self", c.schema().argumentIndexWithName("tensor") ? "tensor" : "other");
}

bool isNumber(Call &c, llvm::StringRef name, double number) {
  return knownNumber(c, name) == number;
}

/// beta * self + alpha * product; self is not read where beta is 0.
void giveSum(Call &c, Expr product, at::ScalarType dtype) {
  Expr scaled = timesArgument(c, product, "alpha");
  if (isNumber(c, "beta", 0))
    return c.result(scaled, dtype);
  c.result(timesArgument(c, Expr(c, c.tensor("self")), "beta") + scaled, dtype);
}

/// A linear layer in disguise: mat2 is a constant matrix, self a constant row.
void lowerAddmm(Call &c) {
  auto [x, y] = factors(c, "mat1", "mat2");
  Tensor self = c.tensor("self");
  if (c.failed())
    return;
  Expr a(c, x), b(c, y);
  bool row = isFloatConstant(self.value, 1) && self.size(0) == y.size(1);
  if (row && isFloatConstant(y.value, 2) && x.isFloat() && isNumber(c, "alpha", 1) &&
      isNumber(c, "beta", 1)) {
    Value *weight = c.builder().constant(constTensor(y.value)->permute({1, 0}), y.value->name);
    return c.result(linearOp(a, weight, self.value), x.dtype);
  }
  giveSum(c, matrixProduct(a, b), x.dtype);
}

void lowerBaddbmm(Call &c) {
  auto [x, y] = factors(c, "batch1", "batch2");
  if (!c.failed())
    giveSum(c, matmul(Expr(c, x), Expr(c, y)), x.dtype);
}

void lowerAddbmm(Call &c) {
  auto [x, y] = factors(c, "batch1", "batch2");
  if (!c.failed())
    giveSum(c, reduce(OpKind::reduce_sum, matmul(Expr(c, x), Expr(c, y)), {0}, false), x.dtype);
}

void lowerAddmv(Call &c) {
  auto [x, y] = factors(c, "mat", "vec");
  if (!c.failed())
    giveSum(c, matrixProduct(Expr(c, x), Expr(c, y)), x.dtype);
}

Expr outerProduct(const Expr &x, const Expr &y) { return expandDims(x, {1}) * expandDims(y, {0}); }

void lowerOuter(Call &c) {
  at::ScalarType dtype = c.promote({"self", "vec2"});
  Tensor x = c.operand("self", dtype), y = c.operand("vec2", dtype);
  if (!c.failed())
    c.result(outerProduct(Expr(c, x), Expr(c, y)), dtype);
}

void lowerAddr(Call &c) {
  auto [x, y] = factors(c, "vec1", "vec2");
  if (!c.failed())
    giveSum(c, outerProduct(Expr(c, x), Expr(c, y)), x.dtype);
}

/// kron(x, y): each axis as two, x's elements apart from y's. Where one of them has one element,
/// the axis is the other's alone and joins what precedes it of the same tensor.
void lowerKron(Call &c) {
  at::ScalarType dtype = c.promote({"self", "other"});
  Tensor x = c.operand("self", dtype), y = c.operand("other", dtype);
  if (c.failed())
    return;
  auto sizeOf = [](const Tensor &tensor, int64_t rank, int64_t axis) {
    int64_t own = axis - (rank - tensor.rank());
    return own < 0 ? Dim(1) : tensor.size(own);
  };
  int64_t rank = std::max(x.rank(), y.rank());
  Shape left, right, result;
  auto append = [](Shape &own, Shape &other, Dim size) {
    if (size == Dim(1))
      return;
    if (!own.empty() && other.back() == Dim(1)) {
      own.back() = own.back() * size;
      return;
    }
    own.push_back(size);
    other.push_back(1);
  };
  for (int64_t axis = 0; axis < rank; ++axis) {
    Dim a = sizeOf(x, rank, axis), b = sizeOf(y, rank, axis);
    result.push_back(a * b);
    append(left, right, a);
    append(right, left, b);
  }
  if (rank > 0 && left.empty()) // of one element each
    left = right = Shape{Dim(1)};
  Expr product = Expr(c, c.reshape(x.value, left)) * Expr(c, c.reshape(y.value, right));
  c.result(c.reshape(product, result), dtype);
}

/// inner(x, y): the last axes against each other, whatever the other axes are.
void lowerInner(Call &c) {
  auto [x, y] = factors(c, "self", "other");
  if (c.failed())
    return;
  if (x.rank() == 0 || y.rank() == 0)
    return c.result(Expr(c, x) * Expr(c, y), x.dtype);
  std::string left, right;
  for (int64_t i = 0; i + 1 < x.rank(); ++i)
    left += char('a' + i);
  for (int64_t i = 0; i + 1 < y.rank(); ++i)
    right += char('A' + i);
  c.result(contract(c, {{Expr(c, x), left + "z"}, {Expr(c, y), right + "z"}}, left + right),
           x.dtype);
}

void lowerChain(Call &c) {
  llvm::StringRef name = c.schema().argumentIndexWithName("matrices") ? "matrices" : "tensors";
  auto matrices = c.tensors(name);
  if (c.failed())
    return;
  Expr product(c, matrices[0]);
  for (const Tensor &matrix : llvm::drop_begin(matrices))
    product = matrixProduct(product, Expr(c, matrix));
  c.result(product, matrices[0].dtype);
}

void lowerVecdot(Call &c) {
  auto [x, y] = factors(c, "x", "y");
  if (c.failed())
    return;
  Expr product = Expr(c, x) * Expr(c, y);
  if (!product.valid())
    return;
  c.result(reduce(OpKind::reduce_sum, product, c.axis("dim", product.rank()), false), x.dtype);
}

void lowerCross(Call &c) {
  at::ScalarType dtype = c.promote({"self", "other"});
  Tensor a = c.operand("self", dtype), b = c.operand("other", dtype);
  if (c.failed())
    return;
  auto shape = broadcastShapes(c, {a.shape(), b.shape()});
  if (!shape)
    return;
  int64_t axis = 0;
  if (c.has("dim"))
    axis = c.axis("dim", shape->size());
  else { // the first axis of size 3 that the first operand has, before it is broadcast
    auto own = a.shape();
    while (axis < int64_t(own.size()) && !(own[axis] == Dim(3))) {
      const Dim &size = own[axis];
      if (size.lower() <= 3 && size.upper() >= 3)
        return c.refuse(Code::OperandMismatch,
                        "the product is along the first axis of size 3, and the size {0} of axis "
                        "{1} may be 3; name the axis: dim",
                        size.str(), axis);
      ++axis;
    }
    axis += int64_t(shape->size() - own.size());
  }
  if (c.failed() || axis == int64_t(shape->size()) || !((*shape)[axis] == Dim(3)))
    return c.refuse(Code::OperandMismatch, "an axis of size 3 is needed");
  Expr x(c, c.broadcastTo(a.value, *shape)), y(c, c.broadcastTo(b.value, *shape));
  llvm::SmallVector<Value *, 3> parts;
  for (int64_t i = 0; i < 3; ++i) {
    auto part = [&](const Expr &e, int64_t k) { return slice(e, axis, k % 3, k % 3 + 1); };
    parts.push_back(part(x, i + 1) * part(y, i + 2) - part(x, i + 2) * part(y, i + 1));
  }
  c.result(concat(c, parts, axis), dtype);
}
} // namespace

/// A product of two small weights that holds more than they do: of the factors of an adapter, which
/// need not be multiplied out (passes/ConstantSources.h). That of two vectors is a table (positions
/// by frequencies) and is.
enum class Product { Kron, Matmul, Linear, Conv };
template <Product kind> static WhenKnown whenProductIsKnown(ValueCall &c) {
  if (kind == Product::Linear && !c[2].isNone())
    return WhenKnown::Compute;
  auto sizes = [](const Val &val) -> std::optional<llvm::SmallVector<int64_t, 6>> {
    auto tensor = val.tensor();
    const auto *known = tensor ? std::get_if<Cell::Known>(&tensor->cell->content) : nullptr;
    return known && known->fromWeight && at::isFloatingType(tensor->dtype())
               ? constShape(tensor->shape)
               : std::nullopt;
  };
  auto x = sizes(c[0]), y = sizes(c[1]);
  if (!x || !y || x->size() < 2 || y->size() < 2 ||
      ((kind == Product::Matmul || kind == Product::Linear) && y->size() != 2))
    return WhenKnown::Compute;
  int64_t ofX = numElements(llvm::ArrayRef<int64_t>(*x));
  int64_t ofY = numElements(llvm::ArrayRef<int64_t>(*y));
  int64_t inner = kind == Product::Kron ? 1 : kind == Product::Conv ? (*x)[1] : x->back();
  int64_t columns = kind == Product::Kron ? ofY : kind == Product::Matmul ? y->back() : (*y)[0];
  bool expands = inner > (kind == Product::Kron ? 0 : 1) && ofX / inner * columns > ofX + ofY;
  return expands ? WhenKnown::LowerLazily : WhenKnown::Compute;
}

void registerLinear(Table &table) {
  table.add({"aten::linear"}, lowerLinear);
  table.add({"aten::matmul", "aten::linalg_matmul"}, lowerMatmul);
  table.add({"aten::mm", "aten::mm.dtype", "aten::bmm", "aten::bmm.dtype"}, lowerMm);
  table.add({"aten::mv"}, lowerMv);
  table.add({"aten::dot", "aten::vdot"}, lowerDot);
  table.add({"aten::addmm", "aten::addmm.dtype"}, lowerAddmm);
  table.add({"aten::baddbmm", "aten::baddbmm.dtype"}, lowerBaddbmm);
  table.add({"aten::addbmm"}, lowerAddbmm);
  table.add({"aten::addmv"}, lowerAddmv);
  table.add({"aten::outer", "aten::ger"}, lowerOuter);
  table.add({"aten::addr"}, lowerAddr);
  table.add({"aten::kron"}, lowerKron);
  table.add({"aten::inner"}, lowerInner);
  table.add({"aten::chain_matmul", "aten::linalg_multi_dot"}, lowerChain);
  table.add({"aten::linalg_vecdot"}, lowerVecdot);
  table.add({"aten::cross", "aten::linalg_cross"}, lowerCross);
  table.setWhenKnown({"aten::kron"}, whenProductIsKnown<Product::Kron>);
  table.setWhenKnown({"aten::matmul", "aten::mm", "aten::mm.dtype"},
                     whenProductIsKnown<Product::Matmul>);
  table.setWhenKnown({"aten::linear"}, whenProductIsKnown<Product::Linear>);
  table.setWhenKnown({"aten::conv1d", "aten::conv1d.padding"}, whenProductIsKnown<Product::Conv>);
  table.setLeavesRange({"aten::linear", "aten::matmul", "aten::mm", "aten::mm.dtype", "aten::bmm",
                        "aten::bmm.dtype", "aten::mv", "aten::dot", "aten::addmm",
                        "aten::addmm.dtype", "aten::baddbmm", "aten::baddbmm.dtype"});
}

} // namespace plait::frontend
