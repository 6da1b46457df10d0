// Shape functions of gather and scatter.
#include "mil/infer/Shapes.h"

namespace plait::mil::infer {

/// Constant indices against the size of an axis, where validate_indices asks for it.
static Error checkIndices(const InferContext &c, unsigned indices, unsigned validate,
                          const Dim &size) {
  auto values = c.constInts(indices);
  if (!c.constBool(validate).value_or(false) || !values || !size.isConst())
    return Error::success();
  for (int64_t value : *values)
    if (value < 0 || value >= size.value())
      return c.fail("index {0} is out of range for an axis of {1}", value, size.value());
  return Error::success();
}

Error gather(InferContext &c) {
  auto x = c.shape(gather::x), indices = c.shape(gather::indices);
  auto axis = c.axis(gather::axis, x.size(), 0);
  if (!axis)
    return axis.takeError();
  int64_t batch = c.constInt(gather::batch_dims).value_or(0);
  if (batch < 0 || batch >= int64_t(x.size()) || batch > int64_t(indices.size()))
    return c.fail("batch_dims {0} is out of range for x of rank {1} and indices of rank {2}", batch,
                  x.size(), indices.size());
  if (Error error = checkIndices(c, gather::indices, gather::validate_indices, x[*axis]))
    return error;
  Shape shape(x.take_front(*axis));
  llvm::append_range(shape, indices.drop_front(batch));
  llvm::append_range(shape, x.drop_front(*axis + 1));
  return c.result(c.dtype(gather::x), shape);
}

Error gatherAlongAxis(InferContext &c) {
  using namespace gather_along_axis;
  auto data = c.shape(x), positions = c.shape(indices);
  auto at = c.axis(axis, data.size(), 0);
  if (!at)
    return at.takeError();
  if (data.size() != positions.size())
    return c.fail("x of shape {0} and indices of shape {1} differ in rank", str(data),
                  str(positions));
  for (size_t i = 0; i < data.size(); ++i)
    if (int64_t(i) != *at && !maybeEqual(data[i], positions[i]))
      return c.fail("x of shape {0} and indices of shape {1} differ outside axis {2}", str(data),
                    str(positions), *at);
  if (Error error = checkIndices(c, indices, validate_indices, data[*at]))
    return error;
  return c.result(c.dtype(x), positions);
}

Error gatherNd(InferContext &c) {
  auto x = c.shape(gather_nd::x), indices = c.shape(gather_nd::indices);
  int64_t batch = c.constInt(gather_nd::batch_dims).value_or(0);
  if (indices.empty() || !indices.back().isConst())
    return c.fail("indices of shape {0} must end in a known size", str(indices));
  int64_t depth = indices.back().value();
  if (batch < 0 || depth < 0 || batch + depth > int64_t(x.size()) ||
      batch >= int64_t(indices.size()))
    return c.fail("indices of shape {0} and batch_dims {1} do not fit x of shape {2}", str(indices),
                  batch, str(x));
  Shape shape(indices.drop_back());
  llvm::append_range(shape, x.drop_front(batch + depth));
  return c.result(c.dtype(gather_nd::x), shape);
}

static Error checkMode(const InferContext &c, unsigned param) {
  llvm::StringRef mode = c.constString(param).value_or("add");
  for (const char *known : {"add", "div", "max", "min", "mul", "sub", "update"})
    if (mode == known)
      return Error::success();
  return c.fail("mode \"{0}\" is none of add, div, max, min, mul, sub, update", mode);
}

Error scatter(InferContext &c) {
  auto data = c.shape(scatter::data), indices = c.shape(scatter::indices);
  auto axis = c.axis(scatter::axis, data.size(), 0);
  if (!axis)
    return axis.takeError();
  if (Error error = checkMode(c, scatter::mode))
    return error;
  Shape expected(data.take_front(*axis));
  llvm::append_range(expected, indices);
  llvm::append_range(expected, data.drop_front(*axis + 1));
  if (!maybeEqual(c.shape(scatter::updates), expected))
    return c.fail("updates has shape {0}; data and indices ask for {1}",
                  str(c.shape(scatter::updates)), str(expected));
  if (Error error = checkIndices(c, scatter::indices, scatter::validate_indices, data[*axis]))
    return error;
  return c.result(c.type(scatter::data));
}

Error scatterAlongAxis(InferContext &c) {
  using namespace scatter_along_axis;
  auto d = c.shape(data), positions = c.shape(indices), u = c.shape(updates);
  auto at = c.axis(axis, d.size(), 0);
  if (!at)
    return at.takeError();
  if (Error error = checkMode(c, mode))
    return error;
  if (!maybeEqual(positions, u) || d.size() != positions.size())
    return c.fail("data, indices and updates have shapes {0}, {1} and {2}", str(d), str(positions),
                  str(u));
  for (size_t i = 0; i < d.size(); ++i)
    if (int64_t(i) != *at && !maybeEqual(d[i], positions[i]))
      return c.fail("data of shape {0} and indices of shape {1} differ outside axis {2}", str(d),
                    str(positions), *at);
  if (Error error = checkIndices(c, indices, validate_indices, d[*at]))
    return error;
  return c.result(c.type(data));
}

Error scatterNd(InferContext &c) {
  auto data = c.shape(scatter_nd::data), indices = c.shape(scatter_nd::indices);
  if (Error error = checkMode(c, scatter_nd::mode))
    return error;
  if (indices.empty() || !indices.back().isConst() || indices.back().value() < 0 ||
      indices.back().value() > int64_t(data.size()))
    return c.fail("indices of shape {0} do not fit data of shape {1}", str(indices), str(data));
  Shape expected(indices.drop_back());
  llvm::append_range(expected, data.drop_front(indices.back().value()));
  if (!maybeEqual(c.shape(scatter_nd::updates), expected))
    return c.fail("updates has shape {0}; data and indices ask for {1}",
                  str(c.shape(scatter_nd::updates)), str(expected));
  return c.result(c.type(scatter_nd::data));
}

} // namespace plait::mil::infer
