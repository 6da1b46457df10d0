// Activations. Parameters that may be per channel (prelu, softplus_parametric) apply to axis 1.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

/// A vector over axis 1 of x, shaped to broadcast; scalars stay scalars.
at::Tensor perChannel(const at::Tensor &parameter, const at::Tensor &x) {
  if (parameter.dim() == 0 || x.dim() < 2)
    return parameter;
  std::vector<int64_t> shape(x.dim(), 1);
  shape[1] = parameter.numel();
  return parameter.reshape(shape);
}

Results evalClampedRelu(EvalContext &c) {
  at::Tensor x = c.value(clamped_relu::x), beta = c.value(clamped_relu::beta).to(x.scalar_type());
  at::Tensor scaled = x * c.value(clamped_relu::alpha).to(x.scalar_type());
  return at::minimum(at::where(x >= 0, x, scaled), beta);
}

Results evalElu(EvalContext &c) {
  at::Tensor x = c.value(elu::x);
  return at::where(x > 0, x, c.value(elu::alpha).to(x.scalar_type()) * at::expm1(x));
}

Results evalGelu(EvalContext &c) {
  at::Tensor x = c.value(gelu::x);
  std::string mode = c.string(gelu::mode, "EXACT");
  if (mode == "EXACT")
    return at::gelu(x);
  if (mode == "TANH_APPROXIMATION")
    return at::gelu(x, "tanh");
  TORCH_CHECK(mode == "SIGMOID_APPROXIMATION", "mode is '", mode,
              "'; it may be EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION");
  return x * at::sigmoid(x * 1.702);
}

Results evalLeakyRelu(EvalContext &c) {
  at::Tensor x = c.value(leaky_relu::x);
  return at::where(x >= 0, x, x * c.value(leaky_relu::alpha).to(x.scalar_type()));
}

Results evalLinearActivation(EvalContext &c) {
  at::Tensor x = c.value(linear_activation::x);
  return x * c.value(linear_activation::alpha).to(x.scalar_type()) +
         c.value(linear_activation::beta).to(x.scalar_type());
}

Results evalPrelu(EvalContext &c) {
  at::Tensor x = c.value(prelu::x);
  at::Tensor alpha = perChannel(c.value(prelu::alpha).to(x.scalar_type()), x);
  return at::where(x > 0, x, x * alpha);
}

Results evalScaledTanh(EvalContext &c) {
  at::Tensor x = c.value(scaled_tanh::x);
  return c.value(scaled_tanh::alpha).to(x.scalar_type()) *
         at::tanh(x * c.value(scaled_tanh::beta).to(x.scalar_type()));
}

Results evalSigmoidHard(EvalContext &c) {
  at::Tensor x = c.value(sigmoid_hard::x);
  return at::clamp(x * c.value(sigmoid_hard::alpha).to(x.scalar_type()) +
                       c.value(sigmoid_hard::beta).to(x.scalar_type()),
                   0, 1);
}

/// log(1 + e^x), exact for large |x|.
at::Tensor softplusOf(const at::Tensor &x) {
  return at::log1p(at::exp(-at::abs(x))) + at::clamp_min(x, 0);
}

Results evalSoftplusParametric(EvalContext &c) {
  at::Tensor x = c.value(softplus_parametric::x);
  at::Tensor alpha = c.value(softplus_parametric::alpha).to(x.scalar_type());
  at::Tensor beta = c.value(softplus_parametric::beta).to(x.scalar_type());
  return perChannel(alpha, x) * softplusOf(x * perChannel(beta, x));
}

Results evalSoftmax(EvalContext &c) {
  at::Tensor x = c.value(softmax::x);
  return at::softmax(x, c.axis(softmax::axis, x.dim(), -1));
}

Results evalThresholdedRelu(EvalContext &c) {
  at::Tensor x = c.value(thresholded_relu::x);
  at::Tensor alpha = c.value(thresholded_relu::alpha).to(x.scalar_type());
  return at::where(x >= alpha, x, at::zeros_like(x));
}

} // namespace

void registerActivations(Registry &r) {
  r.add(OpKind::clamped_relu, evalClampedRelu);
  r.add(OpKind::elu, evalElu);
  r.add(OpKind::gelu, evalGelu);
  r.add(OpKind::leaky_relu, evalLeakyRelu);
  r.add(OpKind::linear_activation, evalLinearActivation);
  r.add(OpKind::prelu, evalPrelu);
  r.add(OpKind::relu, [](EvalContext &c) -> Results { return at::relu(c.value(relu::x)); });
  r.add(OpKind::relu6,
        [](EvalContext &c) -> Results { return at::clamp(c.value(relu6::x), 0, 6); });
  r.add(OpKind::scaled_tanh, evalScaledTanh);
  r.add(OpKind::sigmoid,
        [](EvalContext &c) -> Results { return at::sigmoid(c.value(sigmoid::x)); });
  r.add(OpKind::sigmoid_hard, evalSigmoidHard);
  r.add(OpKind::silu, [](EvalContext &c) -> Results { return at::silu(c.value(silu::x)); });
  r.add(OpKind::softplus,
        [](EvalContext &c) -> Results { return softplusOf(c.value(softplus::x)); });
  r.add(OpKind::softplus_parametric, evalSoftplusParametric);
  r.add(OpKind::softmax, evalSoftmax);
  r.add(OpKind::softsign, [](EvalContext &c) -> Results {
    at::Tensor x = c.value(softsign::x);
    return x / (at::abs(x) + 1);
  });
  r.add(OpKind::thresholded_relu, evalThresholdedRelu);
}

} // namespace plait::runtime
