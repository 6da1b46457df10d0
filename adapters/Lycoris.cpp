// LoHa and LoKr without their products: (A1 B1) * (A2 B2) and kron(W1, W2) are as large as the
// base's weight, so a linear layer applies the factors one after the other.
//
//   LoHa   y_o = sum_i A1[o,i] sum_j A2[o,j] sum_n B2[j,n] B1[i,n] x_n
//   LoKr   x as a matrix X [b, d]: Y = W1 X W2', for W1 [a, b] and W2 [c, d]
//
// A convolution's LoHa is computed by the function itself when it runs: its kernel has no such
// form. So is a LoKr's of a grouped convolution, and where PEFT's kron is another (leadingKron).
#include "adapters/Branch.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::adapters {

using llvm::StringRef;

namespace {

/// The factors of one branch as values: the function's inputs or constants. They come in the order
/// in which they are asked for, so that no two are asked for in one expression.
class Factors {
public:
  Factors(FactorSource &source, BranchBuilder &build, const AdaptedModule &module,
          const AdapterBranch &branch)
      : source_(source), build_(build), module_(module), branch_(branch) {}

  bool has(StringRef name) const { return branch_.find(name); }
  llvm::ArrayRef<int64_t> shape(StringRef name) const { return branch_[name].shape(); }
  Value *operator()(StringRef name) const { return source_.get(build_, module_, branch_, name); }

private:
  FactorSource &source_;
  BranchBuilder &build_;
  const AdaptedModule &module_;
  const AdapterBranch &branch_;
};

/// x [..., n] as rows [N, n] where it has more dimensions than the steps in between leave room for.
Value *rowsOf(BranchBuilder &build, Value *x) {
  Shape shape = BranchBuilder::shapeOf(x);
  if (shape.size() <= 3)
    return x;
  Dim rows = 1;
  for (const Dim &dim : llvm::ArrayRef(shape).drop_back())
    rows = rows * dim;
  return build.reshape(x, {rows, shape.back()});
}

/// y, whose last axes are features, back in the leading shape of x.
Value *likeInput(BranchBuilder &build, Value *y, Value *x, int64_t features) {
  Shape shape = BranchBuilder::shapeOf(x);
  if (shape.empty())
    return y;
  shape.back() = Dim(features);
  return build.reshape(y, shape);
}

/// t [i, j, K...], wa [i, p], wb [j, r]: sum over i and j as [p, r K]. In products of matrices, so
/// that a row of the result takes a row of wa and no more (mil/ComputedReader.h).
Value *tucker(BranchBuilder &build, const Factors &factor, StringRef core, StringRef a,
              StringRef b) {
  llvm::ArrayRef<int64_t> shape = factor.shape(core);
  Dim i(shape[0]), j(shape[1]), r(factor.shape(b)[1]), kernel = 1;
  for (int64_t size : shape.slice(2))
    kernel = kernel * Dim(size);
  Value *t = build.permute(build.reshape(factor(core), {i, j, kernel}), {0, 2, 1});
  Value *right = build.matmul(build.reshape(t, {i * kernel, j}), factor(b));
  right = build.permute(build.reshape(right, {i, kernel, r}), {0, 2, 1});
  return build.matmul(build.swapLast(factor(a)), build.reshape(right, {i, r * kernel}));
}

Value *matmul(BranchBuilder &build, const Factors &factor, StringRef a, StringRef b) {
  Value *left = factor(a);
  return build.matmul(left, factor(b));
}

/// x through B and then A.
Value *linearThrough(BranchBuilder &build, const Factors &factor, Value *x, StringRef b,
                     StringRef a) {
  Value *y = build.linear(x, factor(b));
  return build.linear(y, factor(a));
}

Shape shapeOf(const TensorData &tensor) {
  return Shape(tensor.shape().begin(), tensor.shape().end());
}

} // namespace

// ---- LoHa --------------------------------------------------------------------------------------

Value *lohaDelta(FactorSource &source, BranchBuilder &build, const AdaptedModule &module,
                 const AdapterBranch &branch) {
  Factors factor(source, build, module, branch);
  auto product = [&](StringRef a, StringRef b, StringRef core) {
    return factor.has(core) ? tucker(build, factor, core, a, b) : matmul(build, factor, a, b);
  };
  Value *first = product("hada_w1_a", "hada_w1_b", "hada_t1");
  Value *second = product("hada_w2_a", "hada_w2_b", "hada_t2");
  return build.reshape(build.mul(first, second), shapeOf(module.weight));
}

Value *lohaOutput(FactorSource &source, BranchBuilder &build, const AdaptedModule &module,
                  const AdapterBranch &branch, Value *x) {
  if (module.layer.kind == Layer::Convolution)
    return convolveDelta(source, build, module, branch, x,
                         lohaDelta(source, build, module, branch));
  Factors factor(source, build, module, branch);
  Value *rows = rowsOf(build, x);
  Shape shape = BranchBuilder::shapeOf(rows);
  if (shape.empty())
    return build.poison();
  shape.insert(shape.end() - 1, Dim(1));
  Value *y = build.mul(build.reshape(rows, shape), factor("hada_w1_b")); // [..., i, in]
  y = build.linear(y, factor("hada_w2_b"));                              // [..., i, j]
  y = build.linear(y, factor("hada_w2_a"));                              // [..., i, out]
  y = build.sum(build.mul(y, build.swapLast(factor("hada_w1_a"))), -2);
  return build.mul(likeInput(build, y, x, module.weight.shape()[0]), source.scaleOf(branch));
}

// ---- LoKr --------------------------------------------------------------------------------------

static Value *throughW1(BranchBuilder &build, const Factors &factor, Value *x) {
  return factor.has("lokr_w1") ? build.linear(x, factor("lokr_w1"))
                               : linearThrough(build, factor, x, "lokr_w1_b", "lokr_w1_a");
}

/// A convolution by W2, from d channels to c.
static Value *convolveW2(BranchBuilder &build, const Factors &factor, const AdaptedModule &module,
                         Value *x) {
  llvm::ArrayRef<int64_t> kernel = module.weight.shape().slice(2);
  auto kernelShape = [&](int64_t out, int64_t in, bool pointwise) {
    Shape shape = {Dim(out), Dim(in)};
    for (int64_t size : kernel)
      shape.push_back(Dim(pointwise ? 1 : size));
    return shape;
  };
  auto weight = [&](Value *value, int64_t out, int64_t in, bool pointwise) {
    return build.reshape(value, kernelShape(out, in, pointwise));
  };
  if (factor.has("lokr_w2")) {
    llvm::ArrayRef<int64_t> shape = factor.shape("lokr_w2");
    return convolve(build, module, x, weight(factor("lokr_w2"), shape[0], shape[1], false),
                    Geometry::AllOfBase);
  }
  llvm::ArrayRef<int64_t> a = factor.shape("lokr_w2_a"), b = factor.shape("lokr_w2_b");
  if (factor.has("lokr_t2")) {
    Value *h = convolve(build, module, x, weight(factor("lokr_w2_b"), b[0], b[1], true),
                        Geometry::Pointwise);
    h = convolve(build, module, h, weight(factor("lokr_t2"), a[0], b[0], false),
                 Geometry::AllOfBase);
    return convolve(build, module, h, weight(build.swapLast(factor("lokr_w2_a")), a[1], a[0], true),
                    Geometry::Pointwise);
  }
  int64_t size = 1;
  for (int64_t k : kernel)
    size *= k;
  Value *h = convolve(build, module, x, weight(factor("lokr_w2_b"), b[0], b[1] / size, false),
                      Geometry::AllOfBase);
  return convolve(build, module, h, weight(factor("lokr_w2_a"), a[0], a[1], true),
                  Geometry::Pointwise);
}

static std::pair<int64_t, int64_t> sizesOfW1(const Factors &factor) {
  if (factor.has("lokr_w1"))
    return {factor.shape("lokr_w1")[0], factor.shape("lokr_w1")[1]};
  return {factor.shape("lokr_w1_a")[0], factor.shape("lokr_w1_b")[1]};
}

Value *lokrOutput(FactorSource &source, BranchBuilder &build, const AdaptedModule &module,
                  const AdapterBranch &branch, Value *x) {
  Factors factor(source, build, module, branch);
  auto [a, b] = sizesOfW1(factor);
  int64_t out = module.weight.shape()[0], in = module.weight.shape()[1];
  Shape shape = BranchBuilder::shapeOf(x);
  if (shape.empty())
    return build.poison();
  if (module.layer.kind == Layer::Convolution) {
    if (branch.leadingKron || shape.size() != size_t(module.weight.rank()) ||
        !(shape[1] == Dim(in)))
      return convolveDelta(source, build, module, branch, x,
                           lokrDelta(source, build, module, branch));
    Shape parts = shape;
    parts[0] = shape[0] * Dim(b);
    parts[1] = Dim(in / b);
    Value *y = convolveW2(build, factor, module, build.reshape(x, parts)); // [N b, c, ...]
    Shape result = BranchBuilder::shapeOf(y);
    if (result.empty())
      return build.poison();
    Dim rest = 1;
    for (const Dim &dim : llvm::ArrayRef(result).drop_front())
      rest = rest * dim;
    y = build.swapLast(build.reshape(y, {shape[0], Dim(b), rest}));
    y = build.swapLast(throughW1(build, factor, y)); // [N, a, c ...]
    result[0] = shape[0];
    result[1] = Dim(out);
    return build.mul(build.reshape(y, result), source.scaleOf(branch));
  }
  Value *rows = rowsOf(build, x);
  Shape parts = BranchBuilder::shapeOf(rows);
  parts.back() = Dim(b);
  parts.push_back(Dim(in / b));
  Value *y = build.reshape(rows, parts);
  y = factor.has("lokr_w2")
          ? build.linear(y, factor("lokr_w2"))
          : linearThrough(build, factor, y, "lokr_w2_b", "lokr_w2_a"); // [..., b, c]
  y = build.swapLast(throughW1(build, factor, build.swapLast(y)));     // [..., a, c]
  return build.mul(likeInput(build, y, x, out), source.scaleOf(branch));
}

Value *lokrDelta(FactorSource &source, BranchBuilder &build, const AdaptedModule &module,
                 const AdapterBranch &branch) {
  Factors factor(source, build, module, branch);
  auto [a, b] = sizesOfW1(factor);
  int64_t out = module.weight.shape()[0], in = module.weight.shape()[1];
  Value *w1 =
      factor.has("lokr_w1") ? factor("lokr_w1") : matmul(build, factor, "lokr_w1_a", "lokr_w1_b");
  Value *w2 = factor.has("lokr_w2")   ? factor("lokr_w2")
              : factor.has("lokr_t2") ? tucker(build, factor, "lokr_t2", "lokr_w2_a", "lokr_w2_b")
                                      : matmul(build, factor, "lokr_w2_a", "lokr_w2_b");
  Dim c(out / a), d(in / b), kernel(module.weight.numElements() / (out * in));
  if (branch.leadingKron) {
    Value *product =
        build.mul(build.reshape(w1, {Dim(1), Dim(a), Dim(1), Dim(b), Dim(1)}),
                  build.reshape(w2, {c, Dim(1), d, Dim(1), kernel})); // [c, a, d, b, K]
    return build.reshape(product, shapeOf(module.weight));
  }
  Value *product = build.mul(build.reshape(w1, {Dim(a), Dim(1), Dim(b), Dim(1), Dim(1)}),
                             build.reshape(w2, {Dim(1), c, Dim(1), d, kernel})); // [a, c, b, d, K]
  return build.reshape(product, shapeOf(module.weight));
}

} // namespace plait::adapters
