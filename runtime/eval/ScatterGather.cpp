// gather*, scatter*: all are brought to rows of a matrix picked by one vector of indices. An index
// out of range is an error: Core ML leaves its result undefined. Negative indices count from the
// end in programs of older opsets only, as Core ML has it.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

int64_t product(at::IntArrayRef sizes) {
  int64_t result = 1;
  for (int64_t size : sizes)
    result *= size;
  return result;
}

std::vector<int64_t> join(std::initializer_list<at::IntArrayRef> parts) {
  std::vector<int64_t> shape;
  for (at::IntArrayRef part : parts)
    shape.insert(shape.end(), part.begin(), part.end());
  return shape;
}

/// int64 indices in [0, size).
at::Tensor checked(EvalContext &c, const at::Tensor &indices, int64_t size) {
  at::Tensor result = indices.to(at::kLong);
  if (result.numel() == 0)
    return result;
  if (info(c.op().opset()).negativeIndices)
    result = at::where(result.lt(0), result + size, result);
  int64_t low = result.min().item<int64_t>(), high = result.max().item<int64_t>();
  TORCH_CHECK(low >= 0 && high < size, "index ", low < 0 ? low : high, " is outside [0, ", size,
              "): Core ML leaves the result undefined");
  return result;
}

Results evalGather(EvalContext &c) {
  at::Tensor x = c.raw(gather::x), indices = c.raw(gather::indices);
  int64_t axis = c.axis(gather::axis, x.dim(), 0), batch = c.integer(gather::batch_dims, 0);
  if (batch < 0)
    batch += indices.dim();
  TORCH_CHECK(batch <= axis && batch <= indices.dim(), "batch_dims is ", batch, " for axis ", axis,
              " and indices of rank ", indices.dim());
  indices = checked(c, indices, x.size(axis));
  std::vector<int64_t> shape =
      join({x.sizes().slice(0, axis), indices.sizes().slice(batch), x.sizes().slice(axis + 1)});
  if (batch == 0)
    return x.index_select(axis, indices.flatten()).reshape(shape);
  // [batch, middle, axis, rest] with one row of indices a batch.
  int64_t batches = product(x.sizes().slice(0, batch));
  int64_t middle = product(x.sizes().slice(batch, axis - batch));
  int64_t rest = product(x.sizes().slice(axis + 1));
  at::Tensor flat = x.reshape({batches, middle, x.size(axis), rest});
  int64_t count = product(indices.sizes().slice(batch));
  at::Tensor index = indices.reshape({batches, 1, count, 1}).expand({batches, middle, count, rest});
  return flat.gather(2, index).reshape(shape);
}

Results evalGatherAlongAxis(EvalContext &c) {
  at::Tensor x = c.raw(gather_along_axis::x);
  int64_t axis = c.axis(gather_along_axis::axis, x.dim(), 0);
  return x.gather(axis, checked(c, c.raw(gather_along_axis::indices), x.size(axis)));
}

/// Vectors of `sizes.size()` coordinates in the last axis of `indices`, as row numbers: one a
/// vector, flattened.
at::Tensor rowNumbers(EvalContext &c, const at::Tensor &indices, at::IntArrayRef sizes) {
  at::Tensor coordinates = indices.reshape({-1, int64_t(sizes.size())});
  at::Tensor rows = at::zeros({coordinates.size(0)}, at::kLong);
  for (size_t i = 0; i < sizes.size(); ++i)
    rows = rows * sizes[i] + checked(c, coordinates.select(1, int64_t(i)), sizes[i]);
  return rows;
}

Results evalGatherNd(EvalContext &c) {
  at::Tensor x = c.raw(gather_nd::x), indices = c.raw(gather_nd::indices);
  int64_t batch = c.integer(gather_nd::batch_dims, 0);
  int64_t depth = indices.size(-1);
  TORCH_CHECK(batch + depth <= x.dim(), "indices of depth ", depth, " with ", batch,
              " batch dimensions do not fit x of rank ", x.dim());
  int64_t batches = product(x.sizes().slice(0, batch));
  at::IntArrayRef indexed = x.sizes().slice(batch, depth), rest = x.sizes().slice(batch + depth);
  at::Tensor rows = rowNumbers(c, indices, indexed).reshape({batches, -1});
  rows = (rows + at::arange(batches, at::kLong).unsqueeze(1) * product(indexed)).flatten();
  at::Tensor flat = x.reshape({batches * product(indexed), product(rest)});
  return flat.index_select(0, rows).reshape(
      join({indices.sizes().slice(0, indices.dim() - 1), rest}));
}

/// data[rows[i]] = data[rows[i]] `mode` updates[i], one i after the other.
at::Tensor scatterRows(const at::Tensor &data, const at::Tensor &rows, const at::Tensor &updates,
                       const std::string &mode) {
  if (mode == "update")
    return data.index_copy(0, rows, updates);
  if (mode == "add")
    return data.index_add(0, rows, updates);
  if (mode == "sub")
    return data.index_add(0, rows, updates, -1);
  if (mode == "mul")
    return data.index_reduce(0, rows, updates, "prod");
  if (mode == "max")
    return data.index_reduce(0, rows, updates, "amax");
  if (mode == "min")
    return data.index_reduce(0, rows, updates, "amin");
  TORCH_CHECK(mode == "div", "mode is '", mode,
              "'; it may be add, div, max, min, mul, sub or update");
  at::Tensor result = data.clone();
  for (int64_t i = 0; i < rows.numel(); ++i) {
    at::Tensor row = result[rows[i].item<int64_t>()];
    row.copy_(row.is_floating_point() ? row / updates[i] : at::div(row, updates[i], "floor"));
  }
  return result;
}

Results evalScatter(EvalContext &c) {
  at::Tensor data = c.value(scatter::data), indices = c.raw(scatter::indices);
  at::Tensor updates = c.value(scatter::updates);
  int64_t axis = c.axis(scatter::axis, data.dim(), 0);
  // The axis first: indices may have any rank and stand where the axis was.
  at::Tensor moved = data.movedim(axis, 0);
  std::vector<int64_t> order;
  for (int64_t i = 0; i < indices.dim(); ++i)
    order.push_back(axis + i);
  for (int64_t i = 0; i < updates.dim(); ++i)
    if (i < axis || i >= axis + indices.dim())
      order.push_back(i);
  int64_t rest = product(moved.sizes().slice(1));
  at::Tensor rows = checked(c, indices, data.size(axis)).flatten();
  at::Tensor result = scatterRows(moved.reshape({data.size(axis), rest}), rows,
                                  updates.permute(order).reshape({rows.numel(), rest}),
                                  c.string(scatter::mode, "add"));
  return result.reshape(moved.sizes()).movedim(0, axis);
}

Results evalScatterAlongAxis(EvalContext &c) {
  namespace s = scatter_along_axis;
  at::Tensor data = c.value(s::data), updates = c.value(s::updates);
  int64_t axis = c.axis(s::axis, data.dim(), 0);
  at::Tensor indices = checked(c, c.raw(s::indices), data.size(axis));
  // The number of the element that each update goes to.
  at::Tensor numbers = at::arange(data.numel(), at::kLong).reshape(data.sizes());
  at::Tensor elements = numbers.gather(axis, indices).flatten();
  at::Tensor result =
      scatterRows(data.flatten(), elements, updates.flatten(), c.string(s::mode, "add"));
  return result.reshape(data.sizes());
}

Results evalScatterNd(EvalContext &c) {
  namespace s = scatter_nd;
  at::Tensor data = c.value(s::data), indices = c.raw(s::indices), updates = c.value(s::updates);
  int64_t depth = indices.size(-1);
  TORCH_CHECK(depth <= data.dim(), "indices of depth ", depth, " do not fit data of rank ",
              data.dim());
  at::IntArrayRef indexed = data.sizes().slice(0, depth);
  at::Tensor rows = rowNumbers(c, indices, indexed);
  int64_t rest = product(data.sizes().slice(depth));
  return scatterRows(data.reshape({product(indexed), rest}), rows,
                     updates.reshape({rows.numel(), rest}), c.string(s::mode, "add"))
      .reshape(data.sizes());
}

} // namespace

void registerScatterGather(Registry &r) {
  r.add(OpKind::gather, evalGather);
  r.add(OpKind::gather_along_axis, evalGatherAlongAxis);
  r.add(OpKind::gather_nd, evalGatherNd);
  r.add(OpKind::scatter, evalScatter);
  r.add(OpKind::scatter_along_axis, evalScatterAlongAxis);
  r.add(OpKind::scatter_nd, evalScatterNd);
}

} // namespace plait::runtime
