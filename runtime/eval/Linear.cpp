// linear, matmul, einsum and attention. Integers multiply on LibTorch's integer kernels.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

/// Weights are widened by this many elements at a time, so that the fp32 copy of a large fp16
/// weight never exists whole.
constexpr int64_t kTileElements = 8 << 20;

at::Tensor linearOf(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias) {
  if (x.is_floating_point())
    return at::linear(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
  at::Tensor product = at::matmul(x, weight.t());
  return bias.defined() ? product + bias : product;
}

Results evalLinear(EvalContext &c) {
  at::Tensor x = c.value(linear::x), weight = c.raw(linear::weight);
  at::Tensor bias = c.valueOr(linear::bias);
  if (bias.defined())
    bias = bias.to(x.scalar_type());
  if (weight.scalar_type() == x.scalar_type() || weight.numel() <= kTileElements)
    return linearOf(x, weight.to(x.scalar_type()), bias);
  int64_t rows = std::max<int64_t>(1, kTileElements / weight.size(1));
  std::vector<at::Tensor> parts;
  for (int64_t row = 0; row < weight.size(0); row += rows) {
    int64_t end = std::min(row + rows, weight.size(0));
    parts.push_back(linearOf(x, weight.slice(0, row, end).to(x.scalar_type()),
                             bias.defined() ? bias.slice(0, row, end) : at::Tensor()));
  }
  return at::cat(parts, -1);
}

Results evalMatmul(EvalContext &c) {
  at::Tensor x = c.value(matmul::x), y = c.value(matmul::y).to(x.scalar_type());
  if (c.boolean(matmul::transpose_x))
    x = x.transpose(-1, -2);
  if (c.boolean(matmul::transpose_y))
    y = y.transpose(-1, -2);
  return at::matmul(x, y);
}

Results evalEinsum(EvalContext &c) {
  return at::einsum(c.string(einsum::equation), c.values(einsum::values));
}

/// softmax(Q K^T / sqrt(E) + mask) V; a bool mask keeps where it is true.
Results evalAttention(EvalContext &c) {
  namespace sdpa = scaled_dot_product_attention;
  at::Tensor query = c.value(sdpa::query), key = c.value(sdpa::key), value = c.value(sdpa::value);
  double scale = 1 / std::sqrt(double(query.size(-1)));
  at::Tensor scores = at::matmul(query * scale, key.transpose(-1, -2));
  if (c.has(sdpa::attn_mask)) {
    at::Tensor mask = c.value(sdpa::attn_mask);
    scores = mask.scalar_type() == at::kBool ? scores.masked_fill(at::logical_not(mask), -INFINITY)
                                             : scores + mask.to(scores.scalar_type());
  }
  return at::matmul(at::softmax(scores, -1), value);
}

} // namespace

void registerLinear(Registry &r) {
  r.add(OpKind::einsum, evalEinsum);
  r.add(OpKind::linear, evalLinear);
  r.add(OpKind::matmul, evalMatmul);
  r.add(OpKind::scaled_dot_product_attention, evalAttention);
}

} // namespace plait::runtime
