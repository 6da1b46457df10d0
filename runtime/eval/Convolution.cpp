// conv, conv_transpose and conv_quantized over one to three spatial axes.
#include "runtime/eval/Eval.h"
#include "runtime/eval/Window.h"

namespace plait::runtime {

using namespace mil;

Padding padding(const std::string &padType, const std::vector<int64_t> &pad,
                const std::vector<int64_t> &input, const std::vector<int64_t> &kernel,
                const std::vector<int64_t> &strides) {
  size_t n = input.size();
  Padding result{std::vector<int64_t>(n, 0), std::vector<int64_t>(n, 0)};
  if (padType == "valid")
    return result;
  if (padType == "custom") {
    TORCH_CHECK(pad.size() == 2 * n, "pad has ", pad.size(), " elements where ", 2 * n,
                " are needed");
    for (size_t i = 0; i < n; ++i) {
      result.before[i] = pad[2 * i];
      result.after[i] = pad[2 * i + 1];
    }
    return result;
  }
  TORCH_CHECK(padType == "same" || padType == "same_lower", "pad_type is '", padType,
              "'; it may be valid, same, same_lower or custom");
  for (size_t i = 0; i < n; ++i) {
    int64_t windows = (input[i] + strides[i] - 1) / strides[i];
    int64_t total = std::max<int64_t>(0, (windows - 1) * strides[i] + kernel[i] - input[i]);
    result.before[i] = padType == "same" ? total / 2 : total - total / 2;
    result.after[i] = total - result.before[i];
  }
  return result;
}

std::vector<int64_t> padAmounts(const Padding &padding) {
  std::vector<int64_t> amounts;
  for (size_t i = padding.before.size(); i-- > 0;) {
    amounts.push_back(padding.before[i]);
    amounts.push_back(padding.after[i]);
  }
  return amounts;
}

namespace {

std::vector<int64_t> spatial(at::IntArrayRef shape) { return {shape.begin() + 2, shape.end()}; }

/// The extent of a dilated kernel.
std::vector<int64_t> extent(const std::vector<int64_t> &kernel,
                            const std::vector<int64_t> &dilations) {
  std::vector<int64_t> result;
  for (size_t i = 0; i < kernel.size(); ++i)
    result.push_back((kernel[i] - 1) * dilations[i] + 1);
  return result;
}

/// Where an operation of the family has the parameters that say how its window moves.
struct WindowParams {
  unsigned strides, dilations, pad, padType, groups;
};
constexpr WindowParams kConv{conv::strides, conv::dilations, conv::pad, conv::pad_type,
                             conv::groups};
constexpr WindowParams kConvQuantized{conv_quantized::strides, conv_quantized::dilations,
                                      conv_quantized::pad, conv_quantized::pad_type,
                                      conv_quantized::groups};
constexpr WindowParams kConvTranspose{conv_transpose::strides, conv_transpose::dilations,
                                      conv_transpose::pad, conv_transpose::pad_type,
                                      conv_transpose::groups};

struct Window {
  std::vector<int64_t> strides, dilations, pad;
  std::string padType;
  int64_t groups;

  Window(EvalContext &c, const WindowParams &params, size_t n)
      : strides(c.ints(params.strides, n, 1)), dilations(c.ints(params.dilations, n, 1)),
        pad(c.ints(params.pad)), padType(c.string(params.padType, "valid")),
        groups(c.integer(params.groups, 1)) {}
};

at::Tensor convolve(EvalContext &c, const WindowParams &params, at::Tensor x, at::Tensor weight,
                    at::Tensor bias) {
  size_t n = x.dim() - 2;
  Window w(c, params, n);
  Padding pads = padding(w.padType, w.pad, spatial(x.sizes()),
                         extent(spatial(weight.sizes()), w.dilations), w.strides);
  std::vector<int64_t> symmetric = pads.before;
  if (!pads.symmetric()) {
    x = at::constant_pad_nd(x, padAmounts(pads), 0);
    symmetric.assign(n, 0);
  }
  weight = weight.to(x.scalar_type());
  if (bias.defined())
    bias = bias.to(x.scalar_type());
  return at::convolution(x, weight, bias.defined() ? std::optional(bias) : std::nullopt, w.strides,
                         symmetric, w.dilations, false, std::vector<int64_t>(n, 0), w.groups);
}

Results evalConv(EvalContext &c) {
  return convolve(c, kConv, c.value(conv::x), c.value(conv::weight), c.valueOr(conv::bias));
}

/// The weight of `nbits` unsigned steps is quant_scale * q + quant_bias, both a scalar or a value
/// an output channel.
Results evalConvQuantized(EvalContext &c) {
  namespace q = conv_quantized;
  at::Tensor x = c.value(q::x), weight = c.raw(q::weight).to(x.scalar_type());
  std::vector<int64_t> channels(weight.dim(), 1);
  channels[0] = -1;
  at::Tensor scale = c.value(q::quant_scale).to(x.scalar_type());
  at::Tensor offset = c.value(q::quant_bias).to(x.scalar_type());
  TORCH_CHECK(c.string(q::quantization_type) == "linear", "quantization_type is '",
              c.string(q::quantization_type), "'; only linear is defined");
  weight = weight * scale.reshape(channels) + offset.reshape(channels);
  return convolve(c, kConvQuantized, x, weight, c.valueOr(q::bias));
}

/// The full transposed convolution, cropped: by `pad`, or for pad_type "same" to input * stride, or
/// to output_shape where it says more or less.
Results evalConvTranspose(EvalContext &c) {
  namespace ct = conv_transpose;
  at::Tensor x = c.value(ct::x), weight = c.value(ct::weight).to(x.scalar_type());
  at::Tensor bias = c.valueOr(ct::bias);
  size_t n = x.dim() - 2;
  Window w(c, kConvTranspose, n);
  std::vector<int64_t> zeros(n, 0);
  at::Tensor full = at::convolution(x, weight, std::nullopt, w.strides, zeros, w.dilations, true,
                                    zeros, w.groups);
  std::vector<int64_t> target = c.ints(ct::output_shape);
  if (target.size() == n + 2)
    target.erase(target.begin(), target.begin() + 2);
  for (size_t i = 0; i < n; ++i) {
    int64_t axis = int64_t(i) + 2, size = full.size(axis);
    int64_t before = 0, wanted = size;
    if (w.padType == "custom" && w.pad.size() == 2 * n) {
      before = w.pad[2 * i];
      wanted = size - before - w.pad[2 * i + 1];
    } else if (w.padType == "same" || w.padType == "same_lower") {
      wanted = x.size(axis) * w.strides[i];
      int64_t total = std::max<int64_t>(0, size - wanted);
      before = w.padType == "same" ? total / 2 : total - total / 2;
    }
    if (!target.empty())
      wanted = target[i];
    full = full.slice(axis, before, std::min(size, before + wanted));
    // Beyond the last tap nothing is written: zeros (plus the bias).
    if (int64_t missing = wanted - full.size(axis); missing > 0) {
      std::vector<int64_t> amounts(2 * (n - i), 0);
      amounts.back() = missing;
      full = at::constant_pad_nd(full, amounts, 0);
    }
  }
  if (bias.defined()) {
    std::vector<int64_t> channels(x.dim(), 1);
    channels[1] = -1;
    full = full + bias.to(x.scalar_type()).reshape(channels);
  }
  return full;
}

} // namespace

void registerConvolutions(Registry &r) {
  r.add(OpKind::conv, evalConv);
  r.add(OpKind::conv_quantized, evalConvQuantized);
  r.add(OpKind::conv_transpose, evalConvTranspose);
}

} // namespace plait::runtime
