// Shape functions of resizing, cropping and resampling.
#include "mil/infer/Shapes.h"

#include <cmath>

namespace plait::mil::infer {

static Error needImage(InferContext &c) {
  if (c.rank(0) < 3)
    return c.fail("x has rank {0}; 3 or more is needed", c.rank(0));
  return Error::success();
}

static Error checkSamplingMode(InferContext &c, unsigned param) {
  llvm::StringRef mode = c.constString(param).value_or("DEFAULT");
  for (const char *known :
       {"DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS"})
    if (mode == known)
      return Error::success();
  return c.fail("sampling_mode \"{0}\" is not known", mode);
}

static Dim scaled(const Dim &size, const Value *factor) {
  const TensorData *tensor = constTensor(factor);
  if (!tensor)
    return size; // absent: 1
  if (!isFloat(tensor->dtype()))
    return size * constInt(factor).value_or(1);
  double by = constFloat(factor).value_or(1);
  if (size.isConst())
    return int64_t(std::floor(float(by) * double(size.value())));
  if (by == std::floor(by))
    return size * int64_t(by);
  return Dim::unknown();
}

Error upsample(InferContext &c) {
  if (Error error = needImage(c))
    return error;
  using namespace upsample_bilinear; // upsample_nearest_neighbor begins alike
  Shape shape(c.shape(x));
  for (unsigned param : {scale_factor_height, scale_factor_width}) {
    Dim &size = shape[shape.size() - (param == scale_factor_height ? 2 : 1)];
    double factor = constFloat(c.op()[param]).value_or(1);
    if (!(factor > 0 && factor < 1e6))
      return c.fail("a scale factor is {0:.2f}", factor);
    size = scaled(size, c.op()[param]);
  }
  return c.result(c.dtype(x), shape);
}

Error resizeTo(InferContext &c) {
  if (Error error = needImage(c))
    return error;
  using namespace resize_bilinear; // resize_nearest_neighbor begins alike
  if (c.op().is(OpKind::resize_bilinear))
    if (Error error = checkSamplingMode(c, sampling_mode))
      return error;
  Shape shape(c.shape(x));
  int64_t height = c.constInt(target_size_height).value_or(1),
          width = c.constInt(target_size_width).value_or(1);
  if (height < 1 || width < 1)
    return c.fail("target size {0} x {1}", height, width);
  shape[shape.size() - 2] = height;
  shape[shape.size() - 1] = width;
  return c.result(c.dtype(x), shape);
}

Error resize(InferContext &c) {
  using namespace mil::resize;
  if (Error error = checkSamplingMode(c, sampling_mode))
    return error;
  llvm::StringRef mode = c.constString(interpolation_mode).value_or("LINEAR");
  if (mode != "LINEAR" && mode != "NEAREST_NEIGHBOR")
    return c.fail("interpolation_mode \"{0}\" is neither LINEAR nor NEAREST_NEIGHBOR", mode);
  Shape result(c.shape(x));
  int64_t resized = c.constInt(resized_dims).value_or(-1);
  if (c.rank(mil::resize::shape) != 1 || !c.shape(mil::resize::shape)[0].isConst())
    return c.fail("shape must be a vector of known length");
  int64_t length = c.shape(mil::resize::shape)[0].value();
  if (resized < 0 || resized > length || length > int64_t(result.size()))
    return c.fail("resized_dims {0} with a shape of {1} elements for x of rank {2}", resized,
                  length, result.size());
  auto target = c.dims(mil::resize::shape);
  for (int64_t i = 0; i < resized; ++i) {
    Dim &size = result[result.size() - resized + i];
    Dim wanted = target ? (*target)[length - resized + i] : Dim::unknown();
    if (wanted.isConst() && wanted.value() < 0)
      return c.fail("shape has the negative size {0}", wanted.value());
    if (!(wanted == Dim(0))) // 0 keeps the size
      size = wanted;
  }
  return c.result(c.dtype(x), result);
}

Error crop(InferContext &c) {
  if (Error error = needImage(c))
    return error;
  Shape shape(c.shape(crop::x));
  auto height = c.constInts(crop::crop_height), width = c.constInts(crop::crop_width);
  if (!height || !width || height->size() != 2 || width->size() != 2)
    return c.fail("crop_height and crop_width must have 2 elements");
  auto cut = [&](Dim &size, llvm::ArrayRef<int64_t> amounts) -> Error {
    size = size - amounts[0] - amounts[1];
    if (amounts[0] < 0 || amounts[1] < 0 || (size.isConst() && size.value() < 1))
      return c.fail("x of shape {0} cannot be cropped by {1} and {2}", str(c.shape(crop::x)),
                    amounts[0], amounts[1]);
    return Error::success();
  };
  if (Error error = cut(shape[shape.size() - 2], *height))
    return error;
  if (Error error = cut(shape[shape.size() - 1], *width))
    return error;
  return c.result(c.dtype(crop::x), shape);
}

/// iOS15, iOS16: a region is cut out of every image, or, where it has five elements, of the one
/// that the first says.
static Error cropRegions(InferContext &c) {
  using namespace crop_resize;
  auto image = c.shape(x), regions = c.shape(roi);
  bool indexed = regions.size() == 5 && maybeEqual(regions[2], 5);
  if (regions.size() != 5 || (!indexed && !maybeEqual(regions[2], 4)) ||
      !maybeEqual(regions[1], 1) || !maybeEqual(regions[3], 1) || !maybeEqual(regions[4], 1))
    return c.fail("roi has shape {0}; [N, 1, 4, 1, 1] or [N, 1, 5, 1, 1] is needed", str(regions));
  return c.result(c.dtype(x), {regions[0], indexed ? Dim(1) : image[0], image[1],
                               Dim(c.constInt(target_height).value_or(1)),
                               Dim(c.constInt(target_width).value_or(1))});
}

Error cropResize(InferContext &c) {
  using namespace crop_resize;
  auto image = c.shape(x);
  if (image.size() != 4)
    return c.fail("x has rank {0}; 4 is needed", image.size());
  if (c.has(roi))
    return cropRegions(c);
  auto rois = c.shape(boxes);
  if (rois.size() != 2 || !maybeEqual(rois[1], 4))
    return c.fail("boxes has shape {0}; [N, 4] is needed", str(rois));
  if (c.has(box_indices) && !maybeEqual(c.shape(box_indices), rois[0]))
    return c.fail("box_indices has shape {0} for {1} boxes", str(c.shape(box_indices)),
                  rois[0].str());
  if (auto indices = c.constInts(box_indices); indices && image[0].isConst())
    for (int64_t index : *indices)
      if (index >= image[0].value())
        return c.fail("box_indices has {0} for a batch of {1}", index, image[0].str());
  if (Error error = checkSamplingMode(c, sampling_mode))
    return error;
  llvm::StringRef mode = c.constString(box_coordinate_mode).value_or("CORNERS_HEIGHT_FIRST");
  if (mode != "CORNERS_HEIGHT_FIRST" && mode != "CORNERS_WIDTH_FIRST" &&
      mode != "CENTER_SIZE_HEIGHT_FIRST" && mode != "CENTER_SIZE_WIDTH_FIRST")
    return c.fail("box_coordinate_mode \"{0}\" is not known", mode);
  if (c.constBool(normalized_coordinates).value_or(false) && !isFloat(c.dtype(boxes)))
    return c.fail("normalized_coordinates needs boxes of a float type");
  return c.result(c.dtype(x), {rois[0], image[1], Dim(c.constInt(target_height).value_or(1)),
                               Dim(c.constInt(target_width).value_or(1))});
}

Error affine(InferContext &c) {
  using namespace mil::affine;
  auto image = c.shape(x), matrix = c.shape(transform_matrix);
  if (image.size() != 4 || matrix.size() != 2 || !maybeEqual(matrix[1], 6))
    return c.fail("x has shape {0} and transform_matrix {1}; rank 4 and [N, 6] are needed",
                  str(image), str(matrix));
  auto is = [&](unsigned param, llvm::StringRef text) {
    return c.constString(param).value_or("").equals_insensitive(text);
  };
  if (!is(sampling_mode, "bilinear") || !is(coordinates_mode, "normalized_minus_one_to_one") ||
      !is(padding_mode, "constant") || constFloat(c.op()[padding_value]).value_or(0) != 0)
    return c.fail(
        "only bilinear sampling, normalized_minus_one_to_one coordinates and zero padding "
        "exist");
  auto height = c.constInt(output_height), width = c.constInt(output_width);
  if (!height || !width || *height < 1 || *width < 1)
    return c.fail("output_height and output_width must be positive constants");
  return c.result(c.dtype(x), {image[0], image[1], Dim(*height), Dim(*width)});
}

Error resample(InferContext &c) {
  using namespace mil::resample;
  auto image = c.shape(x), points = c.shape(coordinates);
  if (image.size() != 4 || points.size() != 4 || !maybeEqual(points[3], 2) ||
      !maybeEqual(image[0], points[0]))
    return c.fail("x has shape {0} and coordinates {1}; [N, C, H, W] and [N, h, w, 2] are needed",
                  str(image), str(points));
  return c.result(c.dtype(x), {image[0], image[1], points[1], points[2]});
}

} // namespace plait::mil::infer
