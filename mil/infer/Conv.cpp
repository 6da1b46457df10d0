// Shape functions of convolutions.
#include "mil/infer/Shapes.h"

namespace plait::mil::infer {

namespace {
/// The parameters that conv, conv_quantized and conv_transpose share, found by name.
struct ConvParams {
  llvm::ArrayRef<Dim> x, weight;
  llvm::SmallVector<int64_t, 8> strides, dilations, pad;
  llvm::StringRef padType;
  int64_t groups;

  static Expected<ConvParams> read(const InferContext &c) {
    const OpInfo &row = c.op().info();
    auto param = [&](const char *name) { return *row.findParam(name); };
    ConvParams p;
    p.x = c.shape(param("x"));
    p.weight = c.shape(param("weight"));
    if (p.x.size() < 3 || p.x.size() > 5 || p.weight.size() != p.x.size())
      return c.fail("x has shape {0} and weight {1}; one rank of 3, 4 or 5 is needed", str(p.x),
                    str(p.weight));
    size_t spatial = p.x.size() - 2;
    using Ints = llvm::SmallVector<int64_t, 8>;
    p.strides = c.constInts(param("strides")).value_or(Ints(spatial, 1));
    p.dilations = c.constInts(param("dilations")).value_or(Ints(spatial, 1));
    p.pad = c.constInts(param("pad")).value_or(Ints(2 * spatial, 0));
    p.padType = c.constString(param("pad_type")).value_or("valid");
    p.groups = c.constInt(param("groups")).value_or(1);
    if (p.groups < 1)
      return c.fail("groups is {0}", p.groups);
    return p;
  }
};

Error checkBias(const InferContext &c, const Dim &channels) {
  unsigned bias = *c.op().info().findParam("bias");
  if (c.has(bias) && !maybeEqual(c.shape(bias), channels))
    return c.fail("bias has shape {0} for {1} result channels", str(c.shape(bias)), channels.str());
  return Error::success();
}
} // namespace

Error conv(InferContext &c) {
  auto p = ConvParams::read(c);
  if (!p)
    return p.takeError();
  const Dim &in = p->x[1], &out = p->weight[0];
  if (in.isConst() && in.value() % p->groups != 0)
    return c.fail("{0} input channels do not divide into {1} groups", in.str(), p->groups);
  if (!maybeEqual(in, p->weight[1] * p->groups))
    return c.fail("x has {0} channels; weight of shape {1} and {2} groups take {3}", in.str(),
                  str(p->weight), p->groups, (p->weight[1] * p->groups).str());
  if (Error error = checkBias(c, out))
    return error;
  if (!isCompileTime(c.op()[*c.op().info().findParam("weight")]) &&
      llvm::any_of(p->dilations, [](int64_t d) { return d > 1; }))
    return c.fail("a computed weight allows no dilations");
  auto spatial = windowOutput(
      {p->x.drop_front(2), p->weight.drop_front(2), p->strides, p->dilations, p->padType, p->pad});
  if (!spatial)
    return addContext(spatial.takeError(), c.op().info().name);
  Shape shape{p->x[0], out};
  shape.append(spatial->begin(), spatial->end());
  return c.result(c.dtype(*c.op().info().findParam("x")), shape);
}

Error convTranspose(InferContext &c) {
  auto p = ConvParams::read(c);
  if (!p)
    return p.takeError();
  Dim out = p->weight[1] * p->groups;
  if (!maybeEqual(p->x[1], p->weight[0]))
    return c.fail("x has {0} channels; weight of shape {1} takes {2}", p->x[1].str(),
                  str(p->weight), p->weight[0].str());
  if (Error error = checkBias(c, out))
    return error;
  Shape shape{p->x[0], out};
  size_t spatial = p->x.size() - 2;
  if (auto given = c.constInts(conv_transpose::output_shape)) {
    Shape stated(given->begin(), given->end());
    if (stated.size() != p->x.size() || !maybeEqual(stated[0], shape[0]) ||
        !maybeEqual(stated[1], shape[1]))
      return c.fail("output_shape {0} does not begin with {1}", str(stated), str(shape));
    return c.result(c.dtype(conv_transpose::x), stated);
  }
  bool same = p->padType == "same", custom = p->padType == "custom";
  if (!same && !custom && p->padType != "valid")
    return c.fail("pad_type \"{0}\" is none of valid, same, custom", p->padType);
  if (p->strides.size() != spatial || p->dilations.size() != spatial ||
      (custom && p->pad.size() != 2 * spatial))
    return c.fail("strides, dilations or pad have another length than {0} spatial dimensions ask "
                  "for",
                  spatial);
  for (size_t i = 0; i < spatial; ++i) {
    Dim kernel = (p->weight[i + 2] - 1) * p->dilations[i] + 1;
    Dim size = same ? p->x[i + 2] * p->strides[i] : (p->x[i + 2] - 1) * p->strides[i] + kernel;
    if (custom)
      size = size - p->pad[2 * i] - p->pad[2 * i + 1];
    if (size.isConst() && size.value() <= 0)
      return c.fail("spatial dimension {0} would have {1} elements", i, size.value());
    shape.push_back(size);
  }
  return c.result(c.dtype(conv_transpose::x), shape);
}

} // namespace plait::mil::infer
