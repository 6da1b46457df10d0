// Resizing and sampling of images. Resizing is separable: each axis is sampled at grid points,
// which the sampling mode places; sampling at free coordinates fetches the neighbours of each point
// from an image that is padded as asked.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

enum class Grid { Default, StrictAlign, Align, Offset, Unalign };

Grid gridMode(const std::string &mode) {
  if (mode == "DEFAULT")
    return Grid::Default;
  if (mode == "STRICT_ALIGN_CORNERS")
    return Grid::StrictAlign;
  if (mode == "ALIGN_CORNERS")
    return Grid::Align;
  if (mode == "OFFSET_CORNERS")
    return Grid::Offset;
  TORCH_CHECK(mode == "UNALIGN_CORNERS", "sampling_mode is '", mode,
              "'; it may be DEFAULT, STRICT_ALIGN_CORNERS, ALIGN_CORNERS, OFFSET_CORNERS or "
              "UNALIGN_CORNERS");
  return Grid::Unalign;
}

/// `count` points over the interval [start, start + size - 1] as `mode` spreads them.
std::vector<double> gridPoints(Grid mode, double start, double size, int64_t count) {
  std::vector<double> points;
  double n = double(count), aligned = count > 1 ? (size - 1) / (n - 1) : 0;
  for (int64_t i = 0; i < count; ++i) {
    double offset = 0;
    switch (mode) {
    case Grid::Default:
      offset = double(i) * size / n;
      break;
    case Grid::StrictAlign:
      offset = double(i) * aligned;
      break;
    case Grid::Align:
      offset = count == 1 ? (size - 1) / 2 : double(i) * aligned;
      break;
    case Grid::Offset:
      offset = (double(i) + 0.5) * std::max(1.0, size - 1) / n;
      break;
    case Grid::Unalign:
      offset = (double(i) + 0.5) * size / n - 0.5;
      break;
    }
    points.push_back(start + offset);
  }
  return points;
}

at::Tensor pick(const at::Tensor &x, int64_t axis, const std::vector<int64_t> &indices) {
  return x.index_select(axis, at::tensor(indices, at::kLong));
}

at::Tensor linearAxis(const at::Tensor &x, int64_t axis, const std::vector<double> &points) {
  int64_t last = x.size(axis) - 1;
  std::vector<int64_t> low, high;
  std::vector<double> weights;
  for (double point : points) {
    double p = std::clamp(point, 0.0, double(last));
    int64_t below = int64_t(std::floor(p));
    low.push_back(below);
    high.push_back(std::min(below + 1, last));
    weights.push_back(p - double(below));
  }
  std::vector<int64_t> shape(x.dim(), 1);
  shape[axis] = -1;
  at::Tensor weight = at::tensor(weights, at::kDouble).to(x.scalar_type()).reshape(shape);
  return pick(x, axis, low) * (1 - weight) + pick(x, axis, high) * weight;
}

/// The default grid takes the pixel at or before a point, the others the nearest one.
at::Tensor nearestAxis(const at::Tensor &x, int64_t axis, const std::vector<double> &points,
                       Grid mode) {
  int64_t last = x.size(axis) - 1;
  std::vector<int64_t> indices;
  for (double point : points) {
    // i * in / out may fall a rounding error short of a whole number.
    double p = mode == Grid::Default ? std::floor(point + 1e-9) : std::floor(point + 0.5);
    indices.push_back(std::clamp<int64_t>(int64_t(p), 0, last));
  }
  return pick(x, axis, indices);
}

at::Tensor resizeAxis(const at::Tensor &x, int64_t axis, int64_t size, Grid mode, bool nearest) {
  std::vector<double> points = gridPoints(mode, 0, double(x.size(axis)), size);
  return nearest ? nearestAxis(x, axis, points, mode) : linearAxis(x, axis, points);
}

int64_t scaled(EvalContext &c, unsigned param, int64_t size) {
  return int64_t(std::floor(c.number(param, 1) * double(size)));
}

Results evalUpsampleNearest(EvalContext &c) {
  namespace u = upsample_nearest_neighbor;
  at::Tensor x = c.raw(u::x);
  int64_t h = x.dim() - 2, w = x.dim() - 1;
  x = resizeAxis(x, h, scaled(c, u::scale_factor_height, x.size(h)), Grid::Default, true);
  return resizeAxis(x, w, scaled(c, u::scale_factor_width, x.size(w)), Grid::Default, true);
}

Results evalUpsampleBilinear(EvalContext &c) {
  namespace u = upsample_bilinear;
  at::Tensor x = c.value(u::x);
  bool align = c.boolean(u::align_corners, true);
  bool half = c.boolean(u::half_pixel_centers, !align);
  TORCH_CHECK(!(align && half), "align_corners and half_pixel_centers are both true");
  Grid mode = align ? Grid::StrictAlign : half ? Grid::Unalign : Grid::Default;
  int64_t h = x.dim() - 2, w = x.dim() - 1;
  x = resizeAxis(x, h, scaled(c, u::scale_factor_height, x.size(h)), mode, false);
  return resizeAxis(x, w, scaled(c, u::scale_factor_width, x.size(w)), mode, false);
}

Results evalResizeNearest(EvalContext &c) {
  namespace r = resize_nearest_neighbor;
  at::Tensor x = c.raw(r::x);
  x = resizeAxis(x, x.dim() - 2, c.integer(r::target_size_height), Grid::Default, true);
  return resizeAxis(x, x.dim() - 1, c.integer(r::target_size_width), Grid::Default, true);
}

Results evalResizeBilinear(EvalContext &c) {
  namespace r = resize_bilinear;
  at::Tensor x = c.value(r::x);
  Grid mode = gridMode(c.string(r::sampling_mode, "DEFAULT"));
  x = resizeAxis(x, x.dim() - 2, c.integer(r::target_size_height, 1), mode, false);
  return resizeAxis(x, x.dim() - 1, c.integer(r::target_size_width, 1), mode, false);
}

/// The last `resized_dims` axes take the last sizes of `shape`; 0 keeps a size. Integers
/// interpolate in fp32 and truncate.
Results evalResize(EvalContext &c) {
  namespace r = resize;
  at::Tensor x = c.value(r::x);
  std::vector<int64_t> shape = c.ints(r::shape);
  int64_t count = c.integer(r::resized_dims);
  TORCH_CHECK(count >= 0 && count <= int64_t(shape.size()) && int64_t(shape.size()) <= x.dim(),
              "resized_dims ", count, " and a shape of ", shape.size(), " do not fit rank ",
              x.dim());
  std::string interpolation = c.string(r::interpolation_mode, "LINEAR");
  TORCH_CHECK(interpolation == "LINEAR" || interpolation == "NEAREST_NEIGHBOR",
              "interpolation_mode is '", interpolation, "'; it may be LINEAR or NEAREST_NEIGHBOR");
  bool nearest = interpolation == "NEAREST_NEIGHBOR";
  Grid mode = gridMode(c.string(r::sampling_mode, "DEFAULT"));
  if (!nearest && !x.is_floating_point())
    x = x.to(at::kFloat);
  for (int64_t i = 0; i < count; ++i) {
    int64_t axis = x.dim() - count + i, size = shape[shape.size() - count + i];
    if (size != 0)
      x = resizeAxis(x, axis, size, mode, nearest);
  }
  return x;
}

// ---- Sampling at coordinates

enum class Edge { Constant, Border, Reflection, Symmetric };

/// Pixel numbers of the padded image brought into [0, size).
at::Tensor fold(at::Tensor index, int64_t size, Edge edge) {
  if (edge == Edge::Reflection && size > 1) {
    index = at::remainder(index, 2 * (size - 1));
    return at::where(index >= size, 2 * (size - 1) - index, index);
  }
  if (edge == Edge::Symmetric) {
    index = at::remainder(index, 2 * size);
    return at::where(index >= size, 2 * size - 1 - index, index);
  }
  return index.clamp(0, size - 1);
}

/// image [c, h, w] at whole rows y and columns x of one shape: [c, shape…].
at::Tensor fetch(const at::Tensor &image, const at::Tensor &y, const at::Tensor &x, Edge edge,
                 double padding) {
  int64_t h = image.size(1), w = image.size(2);
  at::Tensor pixels = (fold(y, h, edge) * w + fold(x, w, edge)).flatten();
  std::vector<int64_t> shape{image.size(0)};
  shape.insert(shape.end(), y.sizes().begin(), y.sizes().end());
  at::Tensor values = image.reshape({image.size(0), h * w}).index_select(1, pixels).reshape(shape);
  if (edge != Edge::Constant)
    return values;
  at::Tensor outside =
      at::logical_or(at::logical_or(y.lt(0), y.ge(h)), at::logical_or(x.lt(0), x.ge(w)));
  return values.masked_fill(outside, padding);
}

/// image [c, h, w] at fractional rows and columns (fp64, one shape).
at::Tensor sample(const at::Tensor &image, const at::Tensor &y, const at::Tensor &x, bool nearest,
                  Edge edge, double padding) {
  if (nearest)
    return fetch(image, at::round(y).to(at::kLong), at::round(x).to(at::kLong), edge, padding);
  at::Tensor y0 = at::floor(y), x0 = at::floor(x);
  at::Tensor wy = (y - y0).to(image.scalar_type()), wx = (x - x0).to(image.scalar_type());
  at::Tensor top = y0.to(at::kLong), left = x0.to(at::kLong);
  auto row = [&](const at::Tensor &r) {
    return fetch(image, r, left, edge, padding) * (1 - wx) +
           fetch(image, r, left + 1, edge, padding) * wx;
  };
  return row(top) * (1 - wy) + row(top + 1) * wy;
}

/// Normalised coordinates as pixel numbers.
at::Tensor pixels(const at::Tensor &coordinate, int64_t size, const std::string &mode, bool align) {
  if (mode == "unnormalized")
    return coordinate;
  at::Tensor unit = coordinate;
  if (mode == "normalized_minus_one_to_one")
    unit = (coordinate + 1) / 2;
  else
    TORCH_CHECK(mode == "normalized_zero_to_one", "coordinates_mode is '", mode,
                "'; it may be unnormalized, normalized_minus_one_to_one or "
                "normalized_zero_to_one");
  return align ? unit * double(size - 1) : unit * double(size) - 0.5;
}

Edge edgeMode(const std::string &mode) {
  if (mode == "constant")
    return Edge::Constant;
  if (mode == "border")
    return Edge::Border;
  if (mode == "reflection")
    return Edge::Reflection;
  TORCH_CHECK(mode == "symmetric", "padding_mode is '", mode,
              "'; it may be constant, border, reflection or symmetric");
  return Edge::Symmetric;
}

Results evalResample(EvalContext &c) {
  namespace r = resample;
  at::Tensor x = c.value(r::x), coordinates = c.raw(r::coordinates).to(at::kDouble);
  std::string sampling = c.string(r::sampling_mode), mode = c.string(r::coordinates_mode);
  TORCH_CHECK(sampling == "bilinear" || sampling == "nearest", "sampling_mode is '", sampling,
              "'; it may be bilinear or nearest");
  bool align = c.boolean(r::align_corners);
  at::Tensor columns = pixels(coordinates.select(-1, 0), x.size(3), mode, align);
  at::Tensor rows = pixels(coordinates.select(-1, 1), x.size(2), mode, align);
  std::vector<at::Tensor> images;
  for (int64_t n = 0; n < x.size(0); ++n)
    images.push_back(sample(x[n], rows[n], columns[n], sampling == "nearest",
                            edgeMode(c.string(r::padding_mode)), c.number(r::padding_value)));
  return at::stack(images);
}

/// Output pixel (x, y) in [-1, 1] reads the input at (a0 x + a1 y + a2, b0 x + b1 y + b2).
Results evalAffine(EvalContext &c) {
  namespace a = affine;
  at::Tensor x = c.value(a::x), matrix = c.raw(a::transform_matrix).to(at::kDouble);
  std::string mode = c.string(a::coordinates_mode);
  bool align = c.boolean(a::align_corners), nearest = c.string(a::sampling_mode) == "nearest";
  int64_t height = c.integer(a::output_height), width = c.integer(a::output_width);
  auto axis = [&](int64_t size) {
    at::Tensor i = at::arange(size, at::kDouble);
    if (mode == "unnormalized")
      return i;
    at::Tensor unit = align ? i / double(std::max<int64_t>(1, size - 1)) : (i + 0.5) / double(size);
    return mode == "normalized_zero_to_one" ? unit : unit * 2 - 1;
  };
  at::Tensor column = axis(width).expand({height, width});
  at::Tensor row = axis(height).unsqueeze(1).expand({height, width});
  std::vector<at::Tensor> images;
  for (int64_t n = 0; n < x.size(0); ++n) {
    at::Tensor m = matrix[matrix.size(0) == 1 ? 0 : n];
    at::Tensor columns = column * m[0] + row * m[1] + m[2];
    at::Tensor rows = column * m[3] + row * m[4] + m[5];
    images.push_back(sample(x[n], pixels(rows, x.size(2), mode, align),
                            pixels(columns, x.size(3), mode, align), nearest,
                            edgeMode(c.string(a::padding_mode)), c.number(a::padding_value)));
  }
  return at::stack(images);
}

/// What crop_resize cuts out: boxes, and the image that each is of.
struct Boxes {
  at::Tensor coordinates; // [N, 4]
  std::vector<int64_t> images;
};

Boxes boxesOf(EvalContext &c, int64_t batch) {
  namespace cr = crop_resize;
  Boxes boxes;
  if (!c.has(cr::roi)) {
    boxes.coordinates = c.raw(cr::boxes).to(at::kDouble).contiguous();
    boxes.images = c.ints(cr::box_indices);
    for (int64_t n = boxes.images.size(); n < boxes.coordinates.size(0); ++n)
      boxes.images.push_back(n);
    return boxes;
  }
  // iOS15, iOS16: of the image that the first element says, else of every image.
  at::Tensor regions = c.raw(cr::roi).to(at::kDouble);
  regions = regions.reshape({regions.size(0), regions.size(2)});
  if (regions.size(1) == 5) {
    boxes.coordinates = regions.slice(1, 1).contiguous();
    for (int64_t n = 0; n < regions.size(0); ++n)
      boxes.images.push_back(int64_t(regions[n][0].item<double>()));
    return boxes;
  }
  boxes.coordinates = regions.repeat_interleave(batch, 0);
  for (int64_t n = 0; n < boxes.coordinates.size(0); ++n)
    boxes.images.push_back(n % batch);
  return boxes;
}

/// One patch a box, its grid points spread over [start, end] of each axis; points outside the image
/// give pad_value. A box given by centre and size starts half its size before the centre.
Results evalCropResize(EvalContext &c) {
  namespace cr = crop_resize;
  at::Tensor x = c.value(cr::x);
  Boxes boxes = boxesOf(c, x.size(0));
  int64_t height = c.integer(cr::target_height, 1), width = c.integer(cr::target_width, 1);
  std::string boxMode = c.string(cr::box_coordinate_mode, "CORNERS_HEIGHT_FIRST");
  Grid mode = gridMode(c.string(cr::sampling_mode, "DEFAULT"));
  bool normalized = c.boolean(cr::normalized_coordinates);
  bool corners = boxMode.rfind("CORNERS", 0) == 0;
  int first = boxMode.find("HEIGHT_FIRST") != std::string::npos ? 0 : 1;
  double scale = c.number(cr::spatial_scale, 1), padding = c.number(cr::pad_value, 0);
  auto box = boxes.coordinates.accessor<double, 2>();
  std::vector<at::Tensor> patches;
  for (int64_t n = 0; n < boxes.coordinates.size(0); ++n) {
    int64_t image = boxes.images[n];
    TORCH_CHECK(image >= 0 && image < x.size(0), "box ", n, " is of image ", image, " of ",
                x.size(0));
    auto points = [&](int part, int64_t size, int64_t count) {
      double a = box[n][part] * scale, b = box[n][part + 2] * scale;
      double start = corners ? a : a - b / 2, end = corners ? b : a + b / 2;
      if (normalized) {
        start *= double(size - 1);
        end *= double(size - 1);
      }
      std::vector<double> grid = gridPoints(mode, start, end - start + 1, count);
      return at::tensor(grid, at::kDouble);
    };
    at::Tensor rows = points(first, x.size(2), height).unsqueeze(1).expand({height, width});
    at::Tensor columns = points(1 - first, x.size(3), width).expand({height, width});
    at::Tensor outside =
        at::logical_or(at::logical_or(rows.lt(0), rows.gt(double(x.size(2) - 1))),
                       at::logical_or(columns.lt(0), columns.gt(double(x.size(3) - 1))));
    patches.push_back(
        sample(x[image], rows, columns, false, Edge::Border, 0).masked_fill(outside, padding));
  }
  at::Tensor result = at::stack(patches);
  if (!c.has(cr::roi))
    return result;
  int64_t regions = c.raw(cr::roi).size(0);
  return result.reshape({regions, result.size(0) / regions, x.size(1), height, width});
}

} // namespace

void registerImageResizing(Registry &r) {
  r.add(OpKind::affine, evalAffine);
  r.add(OpKind::crop_resize, evalCropResize);
  r.add(OpKind::resample, evalResample);
  r.add(OpKind::resize, evalResize);
  r.add(OpKind::resize_bilinear, evalResizeBilinear);
  r.add(OpKind::resize_nearest_neighbor, evalResizeNearest);
  r.add(OpKind::upsample_bilinear, evalUpsampleBilinear);
  r.add(OpKind::upsample_nearest_neighbor, evalUpsampleNearest);
}

} // namespace plait::runtime
