// batch_norm, instance_norm, layer_norm, l2_norm and local_response_norm.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

/// A vector over axis 1 of a tensor of rank `rank`, shaped to broadcast.
at::Tensor channels(const at::Tensor &vector, int64_t rank, at::ScalarType dtype) {
  std::vector<int64_t> shape(rank, 1);
  shape[1] = -1;
  return vector.to(dtype).reshape(shape);
}

at::Tensor affine(at::Tensor y, const at::Tensor &gamma, const at::Tensor &beta) {
  if (gamma.defined())
    y = y * channels(gamma, y.dim(), y.scalar_type());
  return beta.defined() ? y + channels(beta, y.dim(), y.scalar_type()) : y;
}

Results evalBatchNorm(EvalContext &c) {
  at::Tensor x = c.value(batch_norm::x);
  at::Tensor mean = channels(c.value(batch_norm::mean), x.dim(), x.scalar_type());
  at::Tensor variance = channels(c.value(batch_norm::variance), x.dim(), x.scalar_type());
  double epsilon = c.number(batch_norm::epsilon, 1e-5);
  return affine((x - mean) / at::sqrt(variance + epsilon), c.valueOr(batch_norm::gamma),
                c.valueOr(batch_norm::beta));
}

/// x less its mean over `axes`, over its (biased) standard deviation.
at::Tensor standardise(const at::Tensor &x, at::IntArrayRef axes, double epsilon) {
  at::Tensor centred = x - x.mean(axes, true);
  return centred / at::sqrt((centred * centred).mean(axes, true) + epsilon);
}

Results evalInstanceNorm(EvalContext &c) {
  at::Tensor x = c.value(instance_norm::x);
  std::vector<int64_t> axes;
  for (int64_t i = 2; i < x.dim(); ++i)
    axes.push_back(i);
  return affine(standardise(x, axes, c.number(instance_norm::epsilon, 1e-5)),
                c.valueOr(instance_norm::gamma), c.valueOr(instance_norm::beta));
}

Results evalLayerNorm(EvalContext &c) {
  at::Tensor x = c.value(layer_norm::x);
  std::vector<int64_t> axes = c.axes(layer_norm::axes, x.dim());
  at::Tensor gamma = c.valueOr(layer_norm::gamma), beta = c.valueOr(layer_norm::beta);
  double epsilon = c.number(layer_norm::epsilon, 1e-5);
  if (axes.empty() || axes.front() != x.dim() - int64_t(axes.size())) {
    // Axes that are not the last ones: gamma and beta lie along them and broadcast over the others.
    std::vector<int64_t> shape(x.dim(), 1);
    for (int64_t axis : axes)
      shape[axis] = x.size(axis);
    at::Tensor y = standardise(x, axes, epsilon);
    if (gamma.defined())
      y = y * gamma.to(x.scalar_type()).reshape(shape);
    return beta.defined() ? y + beta.to(x.scalar_type()).reshape(shape) : y;
  }
  auto optional = [&](const at::Tensor &t) {
    return t.defined() ? std::optional(t.to(x.scalar_type())) : std::nullopt;
  };
  return at::layer_norm(x, x.sizes().slice(axes.front()), optional(gamma), optional(beta), epsilon,
                        false);
}

/// Over the last three axes: x / sqrt(sum x^2 + epsilon).
Results evalL2Norm(EvalContext &c) {
  at::Tensor x = c.value(l2_norm::x);
  return x / at::sqrt((x * x).sum({-3, -2, -1}, true) + c.number(l2_norm::epsilon, 1e-6));
}

/// x / (k + alpha / size * sum over `size` neighbouring channels of x^2) ^ beta, zeros beyond the
/// ends.
Results evalLocalResponseNorm(EvalContext &c) {
  namespace lrn = local_response_norm;
  at::Tensor x = c.value(lrn::x);
  int64_t size = c.integer(lrn::size), before = size / 2;
  at::Tensor squares = x * x;
  std::vector<int64_t> amounts(2 * (x.dim() - 1), 0);
  amounts[amounts.size() - 2] = before;
  amounts[amounts.size() - 1] = size - 1 - before;
  at::Tensor padded = at::constant_pad_nd(squares, amounts, 0);
  at::Tensor sum = at::zeros_like(squares);
  for (int64_t i = 0; i < size; ++i)
    sum += padded.slice(1, i, i + x.size(1));
  double alpha = c.number(lrn::alpha, 1e-4), beta = c.number(lrn::beta, 0.75);
  return x / at::pow(sum * (alpha / double(size)) + c.number(lrn::k, 1), beta);
}

} // namespace

void registerNormalization(Registry &r) {
  r.add(OpKind::batch_norm, evalBatchNorm);
  r.add(OpKind::instance_norm, evalInstanceNorm);
  r.add(OpKind::l2_norm, evalL2Norm);
  r.add(OpKind::layer_norm, evalLayerNorm);
  r.add(OpKind::local_response_norm, evalLocalResponseNorm);
}

} // namespace plait::runtime
