// LoHa and LoKr without their products: (A1 B1) * (A2 B2) and kron(W1, W2) are as large as the
// base's weight, so a linear layer applies the factors one after the other.
//
//   LoHa   y_o = sum_i A1[o,i] sum_j A2[o,j] sum_n B2[j,n] B1[i,n] x_n
//   LoKr   x as a matrix X [b, d]: Y = W1 X W2', for W1 [a, b] and W2 [c, d]
//
// A convolution's LoHa is computed by the function itself when it runs: its kernel has no such
// form. So is a LoKr's of a grouped convolution, and where PEFT's kron is another (leadingKron).
#include "frontend/adapter/Branch.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::frontend {

using llvm::StringRef;

namespace {

/// Gives the factors of one branch as values: the function's inputs or constants. They come in the
/// order in which they are asked for, so that no two are asked for in one expression.
class Factors {
public:
  Factors(AdapterHook *hook, Ops &ops, const AdaptedModule &module, const AdapterBranch &branch)
      : hook_(hook), ops_(ops), module_(module), branch_(branch) {}

  bool has(StringRef name) const { return branch_.find(name); }
  at::IntArrayRef shape(StringRef name) const { return branch_[name].sizes(); }
  Val operator()(StringRef name) const {
    return hook_ ? hook_->factor(ops_, module_, branch_, name) : ops_.constant(branch_[name], name);
  }

private:
  AdapterHook *hook_;
  Ops &ops_;
  const AdaptedModule &module_;
  const AdapterBranch &branch_;
};

/// x [..., n] as rows [N, n] where it has more dimensions than the steps in between leave room for.
Val rowsOf(Ops &ops, const Val &x) {
  Shape shape = Ops::shapeOf(x);
  if (shape.size() <= 3)
    return x;
  Dim rows = 1;
  for (const Dim &dim : llvm::ArrayRef(shape).drop_back())
    rows = rows * dim;
  return ops.reshape(x, {rows, shape.back()});
}

/// y, whose last axes are features, back in the leading shape of x.
Val likeInput(Ops &ops, const Val &y, const Val &x, int64_t features) {
  Shape shape = Ops::shapeOf(x);
  if (shape.empty())
    return y;
  shape.back() = Dim(features);
  return ops.reshape(y, shape);
}

/// t [i, j, K...], wa [i, p], wb [j, r]: sum over i and j as [p, r K]. In products of matrices, so
/// that a row of the result takes a row of wa and no more (mil/ComputedReader.h).
Val tucker(Ops &ops, const Factors &factor, StringRef core, StringRef a, StringRef b) {
  at::IntArrayRef shape = factor.shape(core);
  Dim i(shape[0]), j(shape[1]), r(factor.shape(b)[1]), kernel = 1;
  for (int64_t size : shape.slice(2))
    kernel = kernel * Dim(size);
  Val t = ops.permute(ops.reshape(factor(core), {i, j, kernel}), {0, 2, 1});
  Val right = ops.matmul(ops.reshape(t, {i * kernel, j}), factor(b));
  right = ops.permute(ops.reshape(right, {i, kernel, r}), {0, 2, 1});
  return ops.matmul(ops.swapLast(factor(a)), ops.reshape(right, {i, r * kernel}));
}

Val matmul(Ops &ops, const Factors &factor, StringRef a, StringRef b) {
  Val left = factor(a);
  return ops.matmul(left, factor(b));
}

/// x through B and then A.
Val linearThrough(Ops &ops, const Factors &factor, const Val &x, StringRef b, StringRef a) {
  Val y = ops.linear(x, factor(b));
  return ops.linear(y, factor(a));
}

Shape weightShapeOf(const at::Tensor &tensor) {
  return Shape(tensor.sizes().begin(), tensor.sizes().end());
}

} // namespace

// ---- LoHa --------------------------------------------------------------------------------------

Val lohaDelta(AdapterHook *hook, Ops &ops, const AdaptedModule &module,
              const AdapterBranch &branch) {
  Factors factor(hook, ops, module, branch);
  auto product = [&](StringRef a, StringRef b, StringRef core) {
    return factor.has(core) ? tucker(ops, factor, core, a, b) : matmul(ops, factor, a, b);
  };
  Val first = product("hada_w1_a", "hada_w1_b", "hada_t1");
  Val second = product("hada_w2_a", "hada_w2_b", "hada_t2");
  return ops.reshape(ops.mul(first, second), weightShapeOf(module.weight));
}

Val lohaOutput(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
               const AdapterBranch &branch, const Val &x) {
  if (module.use.kind == WeightUse::Convolution)
    return convolveDelta(hook, ops, module, branch, x, lohaDelta(&hook, ops, module, branch));
  Factors factor(&hook, ops, module, branch);
  Val rows = rowsOf(ops, x);
  Shape shape = Ops::shapeOf(rows);
  if (shape.empty())
    return Val();
  shape.insert(shape.end() - 1, Dim(1));
  Val y = ops.mul(ops.reshape(rows, shape), factor("hada_w1_b")); // [..., i, in]
  y = ops.linear(y, factor("hada_w2_b"));                         // [..., i, j]
  y = ops.linear(y, factor("hada_w2_a"));                         // [..., i, out]
  y = ops.sum(ops.mul(y, ops.swapLast(factor("hada_w1_a"))), -2);
  return ops.mul(likeInput(ops, y, x, module.weight.size(0)), hook.scaleOf(branch));
}

// ---- LoKr --------------------------------------------------------------------------------------

static Val throughW1(Ops &ops, const Factors &factor, const Val &x) {
  return factor.has("lokr_w1") ? ops.linear(x, factor("lokr_w1"))
                               : linearThrough(ops, factor, x, "lokr_w1_b", "lokr_w1_a");
}

/// A convolution by W2, from d channels to c.
static Val convolveW2(Ops &ops, const Factors &factor, const AdaptedModule &module, const Val &x) {
  at::IntArrayRef kernel = module.weight.sizes().slice(2);
  auto kernelShape = [&](int64_t out, int64_t in, bool pointwise) {
    Shape shape = {Dim(out), Dim(in)};
    for (int64_t size : kernel)
      shape.push_back(Dim(pointwise ? 1 : size));
    return shape;
  };
  auto weight = [&](const Val &value, int64_t out, int64_t in, bool pointwise) {
    return ops.reshape(value, kernelShape(out, in, pointwise));
  };
  if (factor.has("lokr_w2")) {
    at::IntArrayRef shape = factor.shape("lokr_w2");
    return convolve(ops, module, x, weight(factor("lokr_w2"), shape[0], shape[1], false),
                    Geometry::AllOfBase);
  }
  at::IntArrayRef a = factor.shape("lokr_w2_a"), b = factor.shape("lokr_w2_b");
  if (factor.has("lokr_t2")) {
    Val h = convolve(ops, module, x, weight(factor("lokr_w2_b"), b[0], b[1], true),
                     Geometry::Pointwise);
    h = convolve(ops, module, h, weight(factor("lokr_t2"), a[0], b[0], false), Geometry::AllOfBase);
    return convolve(ops, module, h, weight(ops.swapLast(factor("lokr_w2_a")), a[1], a[0], true),
                    Geometry::Pointwise);
  }
  int64_t size = 1;
  for (int64_t k : kernel)
    size *= k;
  Val h = convolve(ops, module, x, weight(factor("lokr_w2_b"), b[0], b[1] / size, false),
                   Geometry::AllOfBase);
  return convolve(ops, module, h, weight(factor("lokr_w2_a"), a[0], a[1], true),
                  Geometry::Pointwise);
}

static std::pair<int64_t, int64_t> sizesOfW1(const Factors &factor) {
  if (factor.has("lokr_w1"))
    return {factor.shape("lokr_w1")[0], factor.shape("lokr_w1")[1]};
  return {factor.shape("lokr_w1_a")[0], factor.shape("lokr_w1_b")[1]};
}

Val lokrOutput(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
               const AdapterBranch &branch, const Val &x) {
  Factors factor(&hook, ops, module, branch);
  auto [a, b] = sizesOfW1(factor);
  int64_t out = module.weight.size(0), in = module.weight.size(1);
  Shape shape = Ops::shapeOf(x);
  if (shape.empty())
    return Val();
  if (module.use.kind == WeightUse::Convolution) {
    if (branch.leadingKron || shape.size() != size_t(module.weight.dim()) || !(shape[1] == Dim(in)))
      return convolveDelta(hook, ops, module, branch, x, lokrDelta(&hook, ops, module, branch));
    Shape parts = shape;
    parts[0] = shape[0] * Dim(b);
    parts[1] = Dim(in / b);
    Val y = convolveW2(ops, factor, module, ops.reshape(x, parts)); // [N b, c, ...]
    Shape result = Ops::shapeOf(y);
    if (result.empty())
      return Val();
    Dim rest = 1;
    for (const Dim &dim : llvm::ArrayRef(result).drop_front())
      rest = rest * dim;
    y = ops.swapLast(ops.reshape(y, {shape[0], Dim(b), rest}));
    y = ops.swapLast(throughW1(ops, factor, y)); // [N, a, c ...]
    result[0] = shape[0];
    result[1] = Dim(out);
    return ops.mul(ops.reshape(y, result), hook.scaleOf(branch));
  }
  Val rows = rowsOf(ops, x);
  Shape parts = Ops::shapeOf(rows);
  parts.back() = Dim(b);
  parts.push_back(Dim(in / b));
  Val y = ops.reshape(rows, parts);
  y = factor.has("lokr_w2")
          ? ops.linear(y, factor("lokr_w2"))
          : linearThrough(ops, factor, y, "lokr_w2_b", "lokr_w2_a"); // [..., b, c]
  y = ops.swapLast(throughW1(ops, factor, ops.swapLast(y)));         // [..., a, c]
  return ops.mul(likeInput(ops, y, x, out), hook.scaleOf(branch));
}

Val lokrDelta(AdapterHook *hook, Ops &ops, const AdaptedModule &module,
              const AdapterBranch &branch) {
  Factors factor(hook, ops, module, branch);
  auto [a, b] = sizesOfW1(factor);
  int64_t out = module.weight.size(0), in = module.weight.size(1);
  Val w1 =
      factor.has("lokr_w1") ? factor("lokr_w1") : matmul(ops, factor, "lokr_w1_a", "lokr_w1_b");
  Val w2 = factor.has("lokr_w2")   ? factor("lokr_w2")
           : factor.has("lokr_t2") ? tucker(ops, factor, "lokr_t2", "lokr_w2_a", "lokr_w2_b")
                                   : matmul(ops, factor, "lokr_w2_a", "lokr_w2_b");
  Dim c(out / a), d(in / b), kernel(module.weight.numel() / (out * in));
  if (branch.leadingKron) {
    Val product = ops.mul(ops.reshape(w1, {Dim(1), Dim(a), Dim(1), Dim(b), Dim(1)}),
                          ops.reshape(w2, {c, Dim(1), d, Dim(1), kernel})); // [c, a, d, b, K]
    return ops.reshape(product, weightShapeOf(module.weight));
  }
  Val product = ops.mul(ops.reshape(w1, {Dim(a), Dim(1), Dim(b), Dim(1), Dim(1)}),
                        ops.reshape(w2, {Dim(1), c, Dim(1), d, kernel})); // [a, c, b, d, K]
  return ops.reshape(product, weightShapeOf(module.weight));
}

} // namespace plait::frontend
