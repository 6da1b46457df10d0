// linear, matmul, einsum and attention. Integers multiply on LibTorch's integer kernels.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

/// A large weight of another element type is converted by this many elements at a time: the copy
/// stays in the processor's cache, and that of a whole weight never exists.
constexpr int64_t kTileElements = 1 << 19;

at::Tensor linearOf(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias) {
  if (x.is_floating_point())
    return at::linear(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
  at::Tensor product = at::matmul(x, weight.t());
  return bias.defined() ? product + bias : product;
}

/// Tile after tile of the weight's rows, each a block of the result's columns.
at::Tensor tiledLinear(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias) {
  int64_t features = weight.size(1), results = weight.size(0);
  at::Tensor rows = x.reshape({-1, features}).contiguous();
  at::Tensor out = at::empty({rows.size(0), results}, x.options());
  int64_t step = std::max<int64_t>(1, kTileElements / features);
  at::Tensor tile = at::empty({step, features}, x.options());
  for (int64_t begin = 0; begin < results; begin += step) {
    int64_t count = std::min(step, results - begin);
    at::Tensor part = tile.narrow(0, 0, count), columns = out.narrow(1, begin, count);
    part.copy_(weight.narrow(0, begin, count));
    if (bias.defined())
      at::addmm_out(columns, bias.narrow(0, begin, count), rows, part.t());
    else
      at::mm_out(columns, rows, part.t());
  }
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = results;
  return out.reshape(shape);
}

Results evalLinear(EvalContext &c) {
  at::Tensor x = c.value(linear::x), weight = c.raw(linear::weight);
  at::Tensor bias = c.valueOr(linear::bias);
  if (bias.defined())
    bias = bias.to(x.scalar_type());
  if (weight.scalar_type() == x.scalar_type() || weight.numel() <= kTileElements)
    return linearOf(x, weight.to(x.scalar_type()), bias);
  return tiledLinear(x, weight, bias);
}

/// x * y as matrices over the last two axes, the others broadcast. at::matmul copies an operand as
/// often as it is broadcast: the map of a thousand regions would take 36 GB. at::einsum lets an
/// axis that one operand alone has join the rows or the columns of that operand's matrices.
at::Tensor product(const at::Tensor &x, const at::Tensor &y) {
  int64_t rank = std::max(x.dim(), y.dim());
  bool isRows = y.dim() < 3 && x.is_contiguous(); // at::matmul takes those of all matrices together
  if (rank < 3 || x.dim() < 2 || y.dim() < 2 || isRows)
    return at::matmul(x, y);
  std::string batch =
      llvm::StringRef("abcdefghijklmnopqrstuvwxyz").take_front(size_t(rank - 2)).str();
  auto own = [&](const at::Tensor &one) { return batch.substr(size_t(rank - one.dim())); };
  return at::einsum(own(x) + "RN," + own(y) + "NC->" + batch + "RC", {x, y});
}

Results evalMatmul(EvalContext &c) {
  at::Tensor x = c.value(matmul::x), y = c.value(matmul::y).to(x.scalar_type());
  if (c.boolean(matmul::transpose_x))
    x = x.transpose(-1, -2);
  if (c.boolean(matmul::transpose_y))
    y = y.transpose(-1, -2);
  return product(x, y);
}

Results evalEinsum(EvalContext &c) {
  return at::einsum(c.string(einsum::equation), c.values(einsum::values));
}

/// softmax(Q K^T / sqrt(E) + mask) V; a bool mask keeps where it is true.
Results evalAttention(EvalContext &c) {
  namespace sdpa = scaled_dot_product_attention;
  at::Tensor query = c.value(sdpa::query), key = c.value(sdpa::key), value = c.value(sdpa::value);
  double scale = 1 / std::sqrt(double(query.size(-1)));
  at::Tensor scores = product(query * scale, key.transpose(-1, -2));
  if (c.has(sdpa::attn_mask)) {
    at::Tensor mask = c.value(sdpa::attn_mask);
    scores = mask.scalar_type() == at::kBool ? scores.masked_fill(at::logical_not(mask), -INFINITY)
                                             : scores + mask.to(scores.scalar_type());
  }
  return product(at::softmax(scores, -1), value);
}

} // namespace

void registerLinear(Registry &r) {
  r.add(OpKind::einsum, evalEinsum);
  r.add(OpKind::linear, evalLinear);
  r.add(OpKind::matmul, evalMatmul);
  r.add(OpKind::scaled_dot_product_attention, evalAttention);
}

} // namespace plait::runtime
