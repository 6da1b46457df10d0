// Upsampling and interpolation, sampling on a grid, pixel shuffles, unfolding into patches.
//
// Nearest and linear modes use MIL's operations where they sample as PyTorch does; elsewhere
// nearest is a gather of the rows that LibTorch's own kernel takes, and other modes weigh two or
// four rows (Taps.h). Between sizes that only the input decides, nearest and linear
// modes gather rows at positions computed in integers, which are exact in fp16 programs too.
#include "frontend/engine/Engine.h"
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"
#include "frontend/lower/Taps.h"

#include "llvm/ADT/Sequence.h"
#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <algorithm>
#include <cmath>

namespace plait::frontend {

using namespace mil;

namespace {
/// What an upsample call asks for, one entry a spatial dimension.
struct Target {
  Tensor x;
  unsigned spatial = 0;
  Shape sizes;
  std::vector<std::optional<double>> scales; ///< as given; empty entries follow from the sizes

  int64_t axis(unsigned i) const { return x.rank() - spatial + i; }
  /// The size as a multiple of the input's, where it is a whole one.
  std::optional<int64_t> factor(unsigned i) const {
    Dim times = floordiv(sizes[i], x.size(axis(i)));
    if (times.isConst() && times * x.size(axis(i)) == sizes[i] &&
        (!scales[i] || *scales[i] == double(times.value())))
      return times.value();
    return std::nullopt;
  }
};

std::optional<Target> target(Call &c, unsigned spatial) {
  Target t;
  t.spatial = spatial;
  bool vector = c.schema().argumentIndexWithName("input").has_value(); // the .vec overloads
  t.x = c.tensor(vector ? "input" : "self");
  if (c.failed())
    return std::nullopt;
  if (t.x.rank() != spatial + 2) {
    c.refuse(Code::OperandMismatch, "input of rank {0}; {1} is needed", t.x.rank(), spatial + 2);
    return std::nullopt;
  }
  t.scales.resize(spatial);
  if (vector) {
    if (c.has("scale_factors"))
      for (auto [scale, given] : llvm::zip(t.scales, c.numbers("scale_factors")))
        scale = given;
  } else {
    static const char *names[] = {"scales_d", "scales_h", "scales_w"};
    for (unsigned i = 0; i < spatial; ++i) {
      llvm::StringRef name = spatial == 1 ? "scales" : names[i + 3 - spatial];
      if (c.has(name))
        t.scales[i] = c.optionalNumber(name);
    }
  }
  if (c.has("output_size"))
    t.sizes = c.dims("output_size");
  else
    for (unsigned i = 0; i < spatial; ++i) {
      Dim size = t.x.size(t.axis(i));
      double scale = t.scales[i].value_or(1);
      if (size.isConst())
        t.sizes.push_back(int64_t(std::floor(double(size.value()) * scale)));
      else if (scale == std::floor(scale))
        t.sizes.push_back(size * Dim(int64_t(scale)));
      else
        c.refuse(Code::NotKnown,
                 "a dimension of unknown size can only be scaled by a whole factor, not {0:.2f}",
                 scale);
    }
  if (c.failed())
    return std::nullopt;
  if (t.sizes.size() != spatial) {
    c.refuse(Code::OperandMismatch, "{0} sizes for {1} dimensions", t.sizes.size(), spatial);
    return std::nullopt;
  }
  return t;
}

/// PyTorch's nearest source of each output along one axis, asked of its kernel. The kernel of
/// images differs from the others: it ignores scales where a size stays or doubles.
llvm::SmallVector<int64_t, 8> nearestSources(int64_t in, int64_t out, std::optional<double> scale,
                                             bool isImage, bool exact) {
  at::Tensor positions = at::arange(in, at::kFloat).reshape({1, 1, in});
  at::Tensor sources;
  if (exact)
    sources = at::_upsample_nearest_exact1d(positions, {out}, scale);
  else if (isImage)
    sources = at::upsample_nearest2d(positions.unsqueeze(3), {out, 1}, scale);
  else
    sources = at::upsample_nearest1d(positions, {out}, scale);
  sources = sources.to(at::kLong).flatten().contiguous();
  const int64_t *data = sources.const_data_ptr<int64_t>();
  return {data, data + out};
}

template <unsigned Spatial, bool Exact> void lowerNearest(Call &c) {
  auto t = target(c, Spatial);
  if (!t)
    return;
  Expr y(c, t->x);
  llvm::SmallVector<std::optional<int64_t>, 3> factors;
  for (unsigned i = 0; i < Spatial; ++i)
    factors.push_back(t->factor(i));
  // Whole factors over height and width: one operation.
  if (Spatial == 2 && factors[0] && factors[1] && t->x.isFloat())
    return c.result(c.emit(OpKind::upsample_nearest_neighbor,
                           {{upsample_nearest_neighbor::x, y.value()},
                            {upsample_nearest_neighbor::scale_factor_height, double(*factors[0])},
                            {upsample_nearest_neighbor::scale_factor_width, double(*factors[1])}}),
                    t->x.dtype);
  for (unsigned i = 0; i < Spatial; ++i) {
    int64_t axis = t->axis(i);
    auto in = t->x.size(axis).tryValue(), out = t->sizes[i].tryValue();
    if (in && out) {
      auto sources = nearestSources(*in, *out, t->scales[i], Spatial == 2, Exact);
      if (*in != *out || !llvm::equal(sources, llvm::seq<int64_t>(0, *in)))
        y = gather(y, Expr(c, c.builder().ints(sources)), axis);
    } else if (t->sizes[i] == t->x.size(axis) && (!t->scales[i] || *t->scales[i] == 1)) {
      continue;
    } else if (factors[i]) {
      Shape spread(y.shape());
      spread.insert(spread.begin() + axis + 1, Dim(*factors[i]));
      Shape merged(y.shape());
      merged[axis] = t->sizes[i];
      y = Expr(c, c.reshape(c.broadcastTo(expandDims(y, {axis + 1}), spread), merged));
    } else if (t->scales[i]) {
      return c.refuse(
          Code::UnsupportedForm,
          "a scale of {0:.2f} that the sizes of dimension {1} do not bear out, which are "
          "not known; give the size alone",
          *t->scales[i], axis);
    } else {
      Expr position = iota(c, t->sizes[i]), inSize = sizeOf(c, t->x.size(axis)),
           outSize = sizeOf(c, t->sizes[i]);
      Expr source = Exact ? floorDivide((position * 2 + 1) * inSize, outSize * 2)
                          : floorDivide(position * inSize, outSize);
      y = gather(y, source, axis);
    }
  }
  c.result(y, t->x.dtype);
}

/// Where PyTorch samples for each output along one axis, in its arithmetic.
struct Sampling {
  Sampling(int64_t in, int64_t out, bool alignCorners, std::optional<double> scale)
      : align(alignCorners) {
    if (align)
      step = out > 1 ? float(in - 1) / float(out - 1) : 0;
    else
      step = scale && *scale > 0 ? float(1 / *scale) : float(in) / float(out);
  }
  float source(int64_t i) const { return align ? step * i : step * (i + 0.5f) - 0.5f; }

  bool align;
  float step;
};

/// The coefficients of four rows around a place `t` behind the second.
template <typename Number> std::array<Number, 4> cubicWeights(const Number &t) {
  constexpr float a = -0.75f;
  auto inner = [&](const Number &x) { return (x * (a + 2) - (a + 3)) * x * x + 1; };
  auto outer = [&](const Number &x) { return ((x * a - 5 * a) * x + 8 * a) * x - 4 * a; };
  return {outer(t + 1), inner(t), inner(t * -1 + 1), outer(t * -1 + 2)};
}

Taps samplingTaps(int64_t in, int64_t out, const Sampling &sampling, bool cubic) {
  Taps taps{out, cubic ? 4 : 2, {}, {}};
  for (int64_t i = 0; i < out; ++i) {
    float source = sampling.source(i);
    if (!cubic)
      source = std::max(source, 0.0f);
    int64_t base = std::min(int64_t(std::floor(source)), in - 1);
    float rest = std::clamp(source - float(base), 0.0f, 1.0f);
    auto tap = [&](int64_t position, float weight) {
      taps.positions.push_back(std::clamp<int64_t>(position, 0, in - 1));
      taps.weights.push_back(weight);
    };
    if (cubic) {
      for (auto [k, weight] : llvm::enumerate(cubicWeights(rest)))
        tap(base + int64_t(k) - 1, weight);
    } else {
      tap(base, 1 - rest);
      tap(base + 1, rest);
    }
  }
  return taps;
}

/// Interpolates one axis of known sizes.
Expr interpolateAxis(const Expr &x, const Target &t, unsigned i, bool alignCorners, bool cubic) {
  Call &c = x.call();
  int64_t axis = t.axis(i);
  auto in = t.x.size(axis).tryValue(), out = t.sizes[i].tryValue();
  if (!in || !out) {
    c.refuse(Code::NotKnown, "dimension {0} has no known size", axis);
    return x;
  }
  Sampling sampling(*in, *out, alignCorners, t.scales[i]);
  // Linear modes copy where the size stays, whatever the scale is.
  if (*in == *out && (!cubic || sampling.step == 1))
    return x;
  return weighTaps(x, axis, samplingTaps(*in, *out, sampling, cubic));
}

/// What stands at low and at high of an axis, weighed by how far from low each output lies.
Expr blend(const Expr &x, int64_t axis, const Expr &low, const Expr &high, const Expr &weight) {
  if (!weight.valid())
    return x;
  Shape column(x.rank() - axis, Dim(1));
  column[0] = weight.shape()[0];
  // The difference of two infinities is no number.
  Expr part(x.call(), x.call().reshape(weight, column));
  return gather(x, low, axis) * (1.0 - part) + gather(x, high, axis) * part;
}

/// The same by a scale that was given and that the sizes do not bear out. Where the size stays, so
/// does all else.
Expr interpolateScaled(const Expr &x, int64_t axis, const Dim &in, const Dim &out, double scale) {
  Expr position = castTo(iota(x.call(), out), DType::F32);
  Expr size = sizeOf(x.call(), in);
  Expr step = castTo(notEqual(size, sizeOf(x.call(), out)), DType::F32) * (1 / scale - 1) + 1.0;
  Expr source = maximum((position + 0.5) * step - 0.5, 0.0);
  Expr last = size - 1, low = minimum(castTo(source, DType::I32), last);
  return blend(x, axis, low, minimum(low + 1, last), source - castTo(low, DType::F32));
}

/// Linear interpolation of one axis from size `in` to size `out`, of which one is symbolic.
Expr interpolateSymbolic(const Expr &x, int64_t axis, const Dim &in, const Dim &out,
                         bool alignCorners) {
  Call &c = x.call();
  Expr position = iota(c, out), inSize = sizeOf(c, in), outSize = sizeOf(c, out);
  // The source of each output is numerator / denominator.
  Expr numerator =
      alignCorners ? position * (inSize - 1) : maximum((position * 2 + 1) * inSize - outSize, 0);
  Expr denominator = alignCorners ? maximum(outSize - 1, 1) : outSize * 2;
  Expr low = floorDivide(numerator, denominator), high = minimum(low + 1, inSize - 1);
  Expr weight = castTo(numerator - low * denominator, DType::F32) / castTo(denominator, DType::F32);
  return blend(x, axis, low, high, weight);
}

/// Cubic interpolation of one axis from size `in` to size `out`, of which one is symbolic.
Expr interpolateCubic(const Expr &x, int64_t axis, const Dim &in, const Dim &out,
                      bool alignCorners) {
  Call &c = x.call();
  Expr position = iota(c, out), inSize = sizeOf(c, in), outSize = sizeOf(c, out);
  // The source of each output is numerator / denominator, from -1/2 on.
  Expr numerator = alignCorners ? position * (inSize - 1) : (position * 2 + 1) * inSize - outSize;
  Expr denominator = alignCorners ? maximum(outSize - 1, 1) : outSize * 2;
  Expr base = floorDivide(numerator, denominator);
  Expr t = castTo(numerator - base * denominator, DType::F32) / castTo(denominator, DType::F32);
  auto weights = cubicWeights(t);
  Shape column(x.rank() - axis, Dim(1));
  column[0] = out;
  std::optional<Expr> sum;
  for (auto [k, weight] : llvm::enumerate(weights)) {
    if (!weight.valid())
      return x;
    Expr row = minimum(maximum(base + (double(k) - 1), 0), inSize - 1);
    Expr part = gather(x, row, axis) * Expr(c, c.reshape(weight.value(), column));
    sum = sum ? *sum + part : part;
  }
  return *sum;
}

/// MIL's bilinear operations over the last two axes, sizes `height` and `width`.
Expr resizeBilinear(const Expr &x, int64_t height, int64_t width, bool alignCorners) {
  // Strict: a single output takes the first element, as PyTorch does.
  return Expr(x.call(),
              x.call().emit(OpKind::resize_bilinear,
                            {{resize_bilinear::x, x.value()},
                             {resize_bilinear::target_size_height, height},
                             {resize_bilinear::target_size_width, width},
                             {resize_bilinear::sampling_mode,
                              alignCorners ? "STRICT_ALIGN_CORNERS" : "UNALIGN_CORNERS"}}));
}

template <unsigned Spatial> void lowerLinearUpsample(Call &c) {
  auto t = target(c, Spatial);
  bool align = c.boolean("align_corners");
  if (!t || c.failed())
    return;
  Expr x(c, t->x);
  // Scale factors that the sizes do not bear out shift PyTorch's samples.
  bool consistent = true, known = true, whole = true;
  for (unsigned i = 0; i < Spatial; ++i) {
    auto in = t->x.size(t->axis(i)).tryValue(), out = t->sizes[i].tryValue();
    known &= in && out;
    whole &= t->factor(i).has_value();
    if (in && out && t->scales[i] && !align)
      consistent &= *t->scales[i] * double(*in) == double(*out);
  }
  if (!known && !(Spatial == 2 && whole)) {
    for (unsigned i = 0; i < Spatial; ++i) {
      const Dim &in = t->x.size(t->axis(i)), &out = t->sizes[i];
      if (in.isConst() && out.isConst())
        x = interpolateAxis(x, *t, i, align, /*cubic=*/false);
      else if (t->scales[i] && *t->scales[i] > 0 && !align && !t->factor(i))
        x = interpolateScaled(x, t->axis(i), in, out, *t->scales[i]);
      else if (!(in == out))
        x = interpolateSymbolic(x, t->axis(i), in, out, align);
    }
    return c.result(x, t->x.dtype);
  }
  if (Spatial == 2 && whole)
    return c.result(c.emit(OpKind::upsample_bilinear,
                           {{upsample_bilinear::x, x.value()},
                            {upsample_bilinear::scale_factor_height, double(*t->factor(0))},
                            {upsample_bilinear::scale_factor_width, double(*t->factor(1))},
                            {upsample_bilinear::align_corners, align}}),
                    t->x.dtype);
  auto size = [&](unsigned i) { return t->sizes[i].value(); };
  if (!consistent) {
    for (unsigned i = 0; i < Spatial; ++i)
      x = interpolateAxis(x, *t, i, align, /*cubic=*/false);
    return c.result(x, t->x.dtype);
  }
  auto s = t->x.shape();
  if (Spatial == 1) {
    Expr y = resizeBilinear(Expr(c, c.reshape(x, {s[0], s[1], 1, s[2]})), 1, size(0), align);
    return c.result(squeeze(y, {2}), t->x.dtype);
  }
  if (Spatial == 2)
    return c.result(resizeBilinear(x, size(0), size(1), align), t->x.dtype);
  // Depth on its own: [N, C, D, H * W] resized along D after each of its images.
  Expr images(c, c.reshape(x, {s[0], s[1] * s[2], s[3], s[4]}));
  images = resizeBilinear(images, size(1), size(2), align);
  Dim area = size(1) * size(2);
  Expr columns(c, c.reshape(images, {s[0], s[1], s[2], area}));
  columns = resizeBilinear(columns, size(0), area.value(), align);
  c.result(c.reshape(columns, {s[0], s[1], size(0), size(1), size(2)}), t->x.dtype);
}

void lowerBicubic(Call &c) {
  auto t = target(c, 2);
  bool align = c.boolean("align_corners");
  if (!t || c.failed())
    return;
  Expr x(c, t->x);
  for (unsigned i = 0; i < 2; ++i) {
    const Dim &in = t->x.size(t->axis(i)), &out = t->sizes[i];
    if (in.isConst() && out.isConst())
      x = interpolateAxis(x, *t, i, align, /*cubic=*/true);
    else if (t->scales[i] && !align && !t->factor(i))
      return c.refuse(Code::UnsupportedForm,
                      "a scale of {0:.2f} of dimension {1}, whose size is not known; give the size "
                      "alone",
                      *t->scales[i], t->axis(i));
    else if (!(in == out))
      x = interpolateCubic(x, t->axis(i), in, out, align);
  }
  c.result(x, t->x.dtype);
}

void lowerGridSampler(Call &c) {
  Tensor x = c.tensor("input"), grid = c.tensor("grid");
  int64_t interpolation = c.integer("interpolation_mode"), padding = c.integer("padding_mode");
  bool align = c.boolean("align_corners");
  if (c.failed())
    return;
  if (x.rank() != 4 || interpolation > 1) { // MIL's operation has images of rank 4 and two modes
    const char *other =
        x.rank() == 4 ? "aten::_grid_sampler_2d_cpu_fallback" : "aten::grid_sampler_3d";
    std::vector<Val> arguments;
    for (const char *name :
         {"input", "grid", "interpolation_mode", "padding_mode", "align_corners"})
      arguments.push_back(c.val(name));
    auto results = c.engine().call(
        c10::Dispatcher::singleton().findSchemaOrThrow(other, "").schema(), std::move(arguments));
    return c.result(results && results->size() == 1 ? results->front() : Val());
  }
  // Reflection is about the centres of the border pixels when corners are aligned, else about
  // edges.
  llvm::StringRef mode = padding == 0   ? "constant"
                         : padding == 1 ? "border"
                         : align        ? "reflection"
                                        : "symmetric";
  c.result(c.emit(OpKind::resample,
                  {{resample::x, x.value},
                   {resample::coordinates, grid.value},
                   {resample::sampling_mode, interpolation == 0 ? "bilinear" : "nearest"},
                   {resample::padding_mode, mode},
                   {resample::padding_value, 0.0},
                   {resample::coordinates_mode, "normalized_minus_one_to_one"},
                   {resample::align_corners, align}}),
           x.dtype);
}

/// theta applied to the grid of the identity, which LibTorch gives.
void lowerAffineGrid(Call &c) {
  Tensor theta = c.tensor("theta");
  auto size = c.integers("size");
  bool align = c.boolean("align_corners");
  if (c.failed())
    return;
  if (size.size() != 4 && size.size() != 5)
    return c.refuse(Code::UnsupportedForm,
                    "a size of {0} numbers; grids are over images or volumes", size.size());
  std::vector<int64_t> one{1, 1};
  one.insert(one.end(), size.begin() + 2, size.end());
  int64_t axes = int64_t(size.size()) - 2;
  at::Tensor identity = at::eye(axes, axes + 1, at::kFloat).unsqueeze(0);
  at::Tensor grid = at::affine_grid_generator(identity, one, align).reshape({1, -1, axes});
  at::Tensor base = at::cat({grid, at::ones({1, grid.size(1), 1})}, 2).contiguous();
  Expr points = matmul(Expr(c, c.engine().constant(base)), Expr(c, theta), false, true);
  Shape shape{theta.size(0)};
  shape.append(size.begin() + 2, size.end());
  shape.push_back(axes);
  c.result(c.reshape(points, shape), theta.dtype);
}
} // namespace

void registerResizing(Table &table) {
  table.add({"aten::upsample_nearest1d", "aten::upsample_nearest1d.vec"}, lowerNearest<1, false>);
  table.add({"aten::upsample_nearest2d", "aten::upsample_nearest2d.vec"}, lowerNearest<2, false>);
  table.add({"aten::upsample_nearest3d", "aten::upsample_nearest3d.vec"}, lowerNearest<3, false>);
  table.add({"aten::_upsample_nearest_exact1d", "aten::_upsample_nearest_exact1d.vec"},
            lowerNearest<1, true>);
  table.add({"aten::_upsample_nearest_exact2d", "aten::_upsample_nearest_exact2d.vec"},
            lowerNearest<2, true>);
  table.add({"aten::_upsample_nearest_exact3d", "aten::_upsample_nearest_exact3d.vec"},
            lowerNearest<3, true>);
  table.add({"aten::upsample_linear1d", "aten::upsample_linear1d.vec"}, lowerLinearUpsample<1>);
  table.add({"aten::upsample_bilinear2d", "aten::upsample_bilinear2d.vec"}, lowerLinearUpsample<2>);
  table.add({"aten::upsample_trilinear3d", "aten::upsample_trilinear3d.vec"},
            lowerLinearUpsample<3>);
  table.add({"aten::upsample_bicubic2d", "aten::upsample_bicubic2d.vec"}, lowerBicubic);
  table.add({"aten::grid_sampler", "aten::grid_sampler_2d"}, lowerGridSampler);
  table.add({"aten::affine_grid_generator"}, lowerAffineGrid);
}

} // namespace plait::frontend
