// quantize and dequantize. Scale and zero point are scalars, or vectors along `axis`.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

at::Tensor along(const at::Tensor &parameter, const at::Tensor &x, int64_t axis) {
  if (parameter.numel() == 1)
    return parameter.reshape({});
  std::vector<int64_t> shape(x.dim(), 1);
  shape[axis < 0 ? axis + x.dim() : axis] = -1;
  return parameter.reshape(shape);
}

/// clamp(round(x / scale) + zero_point), ties to even; without steps the same but for rounding.
Results evalQuantize(EvalContext &c) {
  at::Tensor x = c.value(quantize::input);
  int64_t axis = c.integer(quantize::axis, 0);
  at::Tensor q = x / along(c.value(quantize::scale), x, axis);
  if (c.compute() != Compute::Smooth)
    q = at::round(q);
  if (c.has(quantize::zero_point))
    q = q + along(c.raw(quantize::zero_point).to(x.scalar_type()), x, axis);
  bool isSigned = c.resultType().dtype() == DType::I8;
  return at::clamp(q, isSigned ? -128 : 0, isSigned ? 127 : 255);
}

/// scale * (x - zero_point)
Results evalDequantize(EvalContext &c) {
  at::Tensor scale = c.value(dequantize::scale);
  at::Tensor x = c.raw(dequantize::input).to(scale.scalar_type());
  int64_t axis = c.integer(dequantize::axis, 0);
  if (c.has(dequantize::zero_point))
    x = x - along(c.raw(dequantize::zero_point).to(scale.scalar_type()), x, axis);
  return x * along(scale, x, axis);
}

} // namespace

void registerQuantization(Registry &r) {
  r.add(OpKind::dequantize, evalDequantize);
  r.add(OpKind::quantize, evalQuantize);
}

} // namespace plait::runtime
