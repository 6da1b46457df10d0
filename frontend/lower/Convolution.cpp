// Convolutions of 1 to 3 spatial dimensions, transposed ones included.
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"

namespace plait::frontend {

using namespace mil;

namespace {
using Ints = llvm::SmallVector<int64_t, 6>;

struct Geometry {
  Ints stride, padding, dilation, outputPadding;
  /// "same", "valid", or empty where `padding` counts.
  std::string mode;
  int64_t groups = 1;
  bool transposed = false;
};

/// Adds one value a channel (axis 1).
Expr addPerChannel(const Expr &x, Value *bias) {
  Call &c = x.call();
  if (!x.valid())
    return x;
  Shape shape(x.rank(), 1);
  shape[1] = bias->type.shape()[0];
  return x + Expr(c, c.reshape(bias, shape));
}

Expr convolve(const Expr &x, const Expr &weight, Value *bias, const Geometry &g) {
  Call &c = x.call();
  size_t spatial = g.stride.size();
  Ints pad;
  for (size_t i = 0; i < spatial; ++i) {
    int64_t before = 0, after = 0;
    if (g.mode == "same") {
      // An odd total has its larger half behind.
      auto kernel = weight.shape()[i + 2].tryValue();
      if (!kernel) {
        c.refuse(Code::NotKnown, "padding 'same' needs a kernel of known size");
        return x;
      }
      int64_t total = g.dilation[i] * (*kernel - 1);
      before = total / 2;
      after = total - before;
    } else if (g.mode.empty()) {
      before = after = g.padding[i];
    }
    pad.push_back(before);
    pad.push_back(after);
  }
  bool dynamic = !isCompileTime(weight);
  if (dynamic && llvm::any_of(g.dilation, [](int64_t d) { return d != 1; })) {
    c.refuse(Code::NotKnown, "a weight computed at run time cannot be dilated in Core ML");
    return x;
  }
  bool fused = bias && isCompileTime(bias);
  bool padded = llvm::any_of(pad, [](int64_t p) { return p != 0; });
  Expr y(c, c.emit(OpKind::conv, {{conv::x, x.value()},
                                  {conv::weight, weight.value()},
                                  {conv::bias, fused ? bias : nullptr},
                                  {conv::strides, llvm::ArrayRef<int64_t>(g.stride)},
                                  {conv::pad_type, padded ? "custom" : "valid"},
                                  {conv::pad, llvm::ArrayRef<int64_t>(pad)},
                                  {conv::dilations, llvm::ArrayRef<int64_t>(g.dilation)},
                                  {conv::groups, g.groups}}));
  return bias && !fused ? addPerChannel(y, bias) : y;
}

/// Symmetric padding is the operation's own. Output padding keeps that much of what the padding at
/// the end would cut off: the whole result is made, then cropped (devices disagree on asymmetric
/// padding here), or extended with zeros where output padding exceeds padding.
Expr convolveTransposed(const Expr &x, const Expr &weight, Value *bias, const Geometry &g) {
  Call &c = x.call();
  size_t spatial = g.stride.size();
  bool extra = llvm::any_of(g.outputPadding, [](int64_t p) { return p != 0; });
  bool extends = false;
  Ints pad;
  Shape full = {x.shape()[0], weight.shape()[1] * Dim(g.groups)}, outputShape = full;
  for (size_t i = 0; i < spatial; ++i) {
    int64_t padding = g.mode.empty() ? g.padding[i] : 0;
    int64_t output = extra ? g.outputPadding[i] : 0;
    pad.append(2, extra ? 0 : padding);
    extends |= output > padding;
    Dim size = (x.shape()[i + 2] - Dim(1)) * Dim(g.stride[i]) +
               Dim(g.dilation[i]) * (weight.shape()[i + 2] - Dim(1)) + Dim(1);
    full.push_back(size);
    outputShape.push_back(size - Dim(extra ? 0 : 2 * padding));
  }
  bool fused = bias && isCompileTime(bias) && !extends;
  bool padded = llvm::any_of(pad, [](int64_t p) { return p != 0; });
  llvm::SmallVector<Arg, 9> args = {
      {conv_transpose::x, x.value()},
      {conv_transpose::weight, weight.value()},
      {conv_transpose::bias, fused ? bias : nullptr},
      {conv_transpose::pad, llvm::ArrayRef<int64_t>(pad)},
      {conv_transpose::pad_type, padded ? "custom" : "valid"},
      {conv_transpose::strides, llvm::ArrayRef<int64_t>(g.stride)},
      {conv_transpose::dilations, llvm::ArrayRef<int64_t>(g.dilation)},
      {conv_transpose::groups, g.groups}};
  // coremltools states the result's shape wherever it is static.
  if (auto shape = constShape(outputShape))
    args.push_back({conv_transpose::output_shape, llvm::ArrayRef<int64_t>(*shape)});
  Expr y(c, c.emit(OpKind::conv_transpose, args));
  if (extra && y.valid()) {
    Ints pads(2 * (spatial + 2), 0);
    for (size_t i = 0; i < spatial; ++i) {
      int64_t padding = g.padding[i], end = padding - g.outputPadding[i];
      Dim size = full[i + 2];
      y = slice(y, i + 2, padding, end > 0 ? size - Dim(end) : size);
      pads[2 * (i + 2) + 1] = std::max<int64_t>(-end, 0);
    }
    if (extends)
      y = Expr(c, c.emit(OpKind::pad, {{pad::x, y.value()},
                                       {pad::pad, llvm::ArrayRef<int64_t>(pads)},
                                       {pad::mode, "constant"},
                                       {pad::constant_val, 0.0}}));
  }
  return bias && !fused ? addPerChannel(y, bias) : y;
}

void give(Call &c, llvm::StringRef input, const Geometry &geometry) {
  Tensor x = c.tensor(input), weight = c.tensor("weight"), bias = c.optionalTensor("bias");
  if (c.failed())
    return;
  int64_t spatial = geometry.stride.size();
  if (weight.rank() != spatial + 2 || x.rank() < spatial + 1 || x.rank() > spatial + 2)
    return c.refuse(Code::OperandMismatch,
                    "input of rank {0} and weight of rank {1} do not make a convolution over {2} "
                    "dimensions",
                    x.rank(), weight.rank(), spatial);
  bool batched = x.rank() == spatial + 2;
  Expr e(c, c.castTo(x.value, DType::F32)), w(c, c.castTo(weight.value, DType::F32));
  if (!batched)
    e = expandDims(e, {0});
  Expr y = geometry.transposed ? convolveTransposed(e, w, bias.value, geometry)
                               : convolve(e, w, bias.value, geometry);
  c.result(batched ? y : squeeze(y, {0}), x.dtype);
}

/// The schema's spatial dimensions: those of the weight.
unsigned spatialDims(Call &c) {
  size_t rank = c.shapeOf("weight").size();
  return rank > 2 ? rank - 2 : 1;
}

/// conv1d, conv2d, conv3d and conv_transposeNd, whose paddings are integers or a word.
template <bool Transposed> void lowerConv(Call &c) {
  unsigned spatial = spatialDims(c);
  Geometry g;
  g.transposed = Transposed;
  g.stride = c.integers("stride", spatial);
  g.dilation = c.integers("dilation", spatial);
  g.groups = c.integer("groups");
  if (auto padding = c.val("padding").known(); padding && padding->isString())
    g.mode = c.string("padding");
  else
    g.padding = c.integers("padding", spatial);
  if (Transposed)
    g.outputPadding = c.integers("output_padding", spatial);
  if (!c.failed())
    give(c, "input", g);
}

/// The general forms, which say whether they are transposed.
void lowerConvolution(Call &c) {
  unsigned spatial = spatialDims(c);
  Geometry g;
  g.transposed = c.boolean("transposed");
  g.stride = c.integers("stride", spatial);
  g.padding = c.integers("padding", spatial);
  g.dilation = c.integers("dilation", spatial);
  g.outputPadding = c.integers("output_padding", spatial);
  g.groups = c.integer("groups");
  if (!c.failed())
    give(c, "input", g);
}

/// Forms for one backend: a plain convolution.
template <bool Depthwise> void lowerBackendConv(Call &c) {
  unsigned spatial = spatialDims(c);
  Geometry g;
  g.stride = c.integers("stride", spatial);
  g.padding = c.integers("padding", spatial);
  g.dilation = c.integers("dilation", spatial);
  if (Depthwise)
    g.groups = c.shapeOf("self").size() > 1 ? c.shapeOf("self")[1].tryValue().value_or(1) : 1;
  else
    g.groups = c.integer("groups");
  if (!c.failed())
    give(c, "self", g);
}
} // namespace

void registerConvolution(Table &table) {
  table.add({"aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::conv1d.padding",
             "aten::conv2d.padding", "aten::conv3d.padding", "aten::_convolution_mode"},
            lowerConv<false>);
  table.add(
      {"aten::conv_transpose1d", "aten::conv_transpose2d.input", "aten::conv_transpose3d.input"},
      lowerConv<true>);
  table.add({"aten::_convolution", "aten::_convolution.deprecated", "aten::convolution"},
            lowerConvolution);
  table.add({"aten::_conv_depthwise2d", "aten::conv_depthwise3d"}, lowerBackendConv<true>);
  table.add({"aten::mkldnn_convolution"}, lowerBackendConv<false>);
}

} // namespace plait::frontend
