// Max and average pooling over 1 to 3 dimensions, with windows and to a given output size; the
// indices of maxima, and unpooling by them.
//
// Core ML rounds output sizes differently from PyTorch with ceil_mode, so where sizes are known the
// extra windows are made by padding at the end, and averages are corrected for what they count.
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"
#include "frontend/lower/Taps.h"

#include "llvm/ADT/Sequence.h"
#include <cmath>

namespace plait::frontend {

using namespace mil;

namespace {
using PoolInts = llvm::SmallVector<int64_t, 6>;

/// The windows of a pooling, one entry a spatial dimension.
struct Windows {
  PoolInts kernel, stride, padding, dilation;
  bool ceil = false;
  PoolInts extra;           ///< padding at the end that ceil_mode adds
  bool dynamicCeil = false; ///< sizes are not known: the operation's own ceil_mode is used

  size_t spatial() const { return kernel.size(); }
  bool hasExtra() const {
    return llvm::any_of(extra, [](int64_t e) { return e > 0; });
  }
  PoolInts pads() const {
    PoolInts pads;
    for (size_t i = 0; i < spatial(); ++i) {
      pads.push_back(padding[i]);
      pads.push_back(padding[i] + extra[i]);
    }
    return pads;
  }
};

/// PyTorch's count of windows: the last may not start in the padding at the end.
int64_t outputSize(int64_t size, int64_t span, int64_t stride, int64_t padding, bool ceil) {
  int64_t count = (size + 2 * padding - span + (ceil ? stride - 1 : 0)) / stride + 1;
  if (ceil && (count - 1) * stride >= size + padding)
    --count;
  return count;
}

std::optional<Windows> windows(Call &c, const Tensor &x, unsigned spatial) {
  Windows w;
  w.kernel = c.integers("kernel_size", spatial);
  w.stride = c.integers("stride");
  w.stride = w.stride.empty() ? w.kernel : c.integers("stride", spatial);
  w.padding = c.integers("padding", spatial);
  w.dilation.assign(spatial, 1);
  if (c.schema().argumentIndexWithName("dilation"))
    w.dilation = c.integers("dilation", spatial);
  w.ceil = c.boolean("ceil_mode");
  w.extra.assign(spatial, 0);
  for (llvm::ArrayRef<int64_t> sizes : {w.kernel, w.stride, w.dilation})
    if (llvm::any_of(sizes, [](int64_t size) { return size < 1; }))
      c.refuse(Code::UnsupportedForm, "a window whose size, stride or dilation is less than 1");
  if (c.failed())
    return std::nullopt;
  if (x.rank() != spatial + 1 && x.rank() != spatial + 2) {
    c.refuse(Code::OperandMismatch, "input of rank {0}; {1} or {2} is needed", x.rank(),
             spatial + 1, spatial + 2);
    return std::nullopt;
  }
  bool dilated = llvm::any_of(w.dilation, [](int64_t d) { return d > 1; }), rounds = false;
  for (unsigned i = 0; w.ceil && i < spatial; ++i) {
    int64_t span = w.dilation[i] * (w.kernel[i] - 1) + 1;
    auto size = x.size(x.rank() - spatial + i).tryValue();
    if (!size && (w.padding[i] != 0 || w.stride[i] > w.kernel[i])) {
      c.refuse(Code::NotKnown,
               "ceil_mode with padding on a dimension of unknown size; Core ML and PyTorch count "
               "windows differently there");
      return std::nullopt;
    }
    if (!size) {
      // Slices take what fits whole: one window more fits if there is nearly a stride more.
      if (dilated)
        w.extra[i] = w.stride[i] - 1;
      else
        w.dynamicCeil = true;
      continue;
    }
    int64_t count = outputSize(*size, span, w.stride[i], w.padding[i], true);
    int64_t excess = (count - 1) * w.stride[i] + span - *size - 2 * w.padding[i];
    w.extra[i] = std::max<int64_t>(0, excess);
    rounds |= excess < 0;
  }
  if (w.dynamicCeil && rounds) {
    c.refuse(Code::NotKnown,
             "ceil_mode where one dimension has an unknown size and the last window of another "
             "would start outside; Core ML counts that window");
    return std::nullopt;
  }
  return w;
}

/// x in float with a batch axis, which `finish` takes away again.
Expr prepare(Call &c, const Tensor &x, unsigned spatial) {
  Expr e(c, c.castTo(x.value, DType::F32));
  return x.rank() == spatial + 1 ? expandDims(e, {0}) : e;
}
void finish(Call &c, const Tensor &x, Expr y, unsigned spatial) {
  if (x.rank() == spatial + 1)
    y = squeeze(y, {0});
  c.result(c.castTo(y, x.milType()), x.dtype);
}

Expr pool(const Expr &x, OpKind kind, const Windows &w, bool excludePadding = false) {
  Call &c = x.call();
  PoolInts pads = w.pads();
  bool padded = llvm::any_of(pads, [](int64_t p) { return p != 0; });
  llvm::ArrayRef<int64_t> kernel(w.kernel), stride(w.stride), pad(pads);
  const char *type = padded ? "custom" : "valid";
  if (kind == OpKind::max_pool)
    return Expr(c, c.emit(kind, {{max_pool::x, x.value()},
                                 {max_pool::kernel_sizes, kernel},
                                 {max_pool::strides, stride},
                                 {max_pool::pad_type, type},
                                 {max_pool::pad, pad},
                                 {max_pool::ceil_mode, w.dynamicCeil}}));
  return Expr(c, c.emit(kind, {{avg_pool::x, x.value()},
                               {avg_pool::kernel_sizes, kernel},
                               {avg_pool::strides, stride},
                               {avg_pool::pad_type, type},
                               {avg_pool::pad, pad},
                               {avg_pool::ceil_mode, w.dynamicCeil},
                               {avg_pool::exclude_padding_from_average, excludePadding}}));
}

/// Core ML has no dilated pooling: the maximum of one strided slice for each place in the window.
Expr dilatedMax(const Expr &x, const Windows &w) {
  Call &c = x.call();
  PoolInts pads(4, 0);
  PoolInts spatialPads(w.pads());
  pads.append(spatialPads.begin(), spatialPads.end());
  Expr padded(c, c.emit(OpKind::pad, {{pad::x, x.value()},
                                      {pad::pad, llvm::ArrayRef<int64_t>(pads)},
                                      {pad::mode, "constant"},
                                      {pad::constant_val, -INFINITY}}));
  // One dimension after the other: a maximum is separable.
  for (size_t i = 0; i < w.spatial() && padded.valid(); ++i) {
    int64_t axis = i + 2, span = w.dilation[i] * (w.kernel[i] - 1) + 1;
    Dim count = floordiv(padded.shape()[axis] - Dim(span), Dim(w.stride[i])) + Dim(1);
    Dim length = (count - Dim(1)) * Dim(w.stride[i]) + Dim(1);
    Expr best = slice(padded, axis, 0, length, w.stride[i]);
    for (int64_t k = 1; k < w.kernel[i]; ++k) {
      Dim start = k * w.dilation[i];
      best = maximum(best, slice(padded, axis, start, start + length, w.stride[i]));
    }
    padded = best;
  }
  return padded;
}

/// What windows read along one axis of known size: positions in the image, ascending.
using Reads = llvm::SmallVector<PoolInts, 0>;

/// Positions as a table of one row a window. Rows of fewer positions repeat their last, which
/// changes no maximum and not where it first occurs.
struct ReadTable {
  explicit ReadTable(const Reads &reads) : windows(reads.size()) {
    for (const PoolInts &window : reads)
      width = std::max<int64_t>(width, window.size());
    for (const PoolInts &window : reads)
      for (int64_t k = 0; k < width; ++k)
        positions.push_back(window[std::min<int64_t>(k, window.size() - 1)]);
  }
  int64_t windows, width = 0;
  PoolInts positions;

  /// The positions that were chosen: `chosen` counts within the window of its place along `axis`.
  Expr lookUp(const Expr &chosen, int64_t axis) const {
    Call &c = chosen.call();
    Shape along(chosen.rank(), 1);
    along[axis] = windows;
    Expr row(c, c.reshape(iota(c, windows), along));
    return gather(Expr(c, c.builder().ints(positions)), chosen + row * double(width), 0);
  }
};

/// Where in the plane of its channel each maximum of x, [N, C, (H,) W], first occurs: the windows
/// are laid out as an axis, whose argmax is looked up in the tables that they were read by.
Expr maximaIndices(const Expr &x, llvm::ArrayRef<ReadTable> tables) {
  Call &c = x.call();
  auto shape = x.shape();
  Dim planes = shape[0] * shape[1], height = tables.size() == 2 ? shape[2] : Dim(1);
  // One dimension is an image of one row.
  ReadTable rows = tables.size() == 2 ? tables[0] : ReadTable(Reads{PoolInts{0}});
  const ReadTable &columns = tables.back();
  Expr image(c, c.reshape(x, {planes, height, shape.back()}));
  image = gather(image, Expr(c, c.builder().ints(rows.positions)), 1);
  image = gather(image, Expr(c, c.builder().ints(columns.positions)), 2);
  Value *split =
      c.reshape(image, {planes, rows.windows, rows.width, columns.windows, columns.width});
  Value *windows = c.reshape(c.permute(split, {0, 1, 3, 2, 4}),
                             {planes, rows.windows, columns.windows, rows.width * columns.width});
  Expr chosen(c, c.emit(OpKind::reduce_argmax, {{reduce_argmax::x, windows},
                                                {reduce_argmax::axis, 3},
                                                {reduce_argmax::keep_dims, false},
                                                {reduce_argmax::output_dtype, "int32"}}));
  if (!chosen.valid())
    return chosen;
  Expr width(c, c.builder().scalar(DType::I32, double(columns.width)));
  Expr down = floorDivide(chosen, width);
  Expr index =
      rows.lookUp(down, 1) * sizeOf(c, shape.back()) + columns.lookUp(chosen - down * width, 2);
  Shape result{shape[0], shape[1]};
  if (tables.size() == 2)
    result.push_back(rows.windows);
  result.push_back(columns.windows);
  return Expr(c, c.reshape(index, result));
}

/// The second result of a max pooling: indices where something may use them. A scripted model
/// passes them on from function to function even where nothing does.
void giveIndices(Call &c, const Tensor &x, const Expr &e, unsigned spatial,
                 llvm::function_ref<Reads(unsigned axis, int64_t size)> reads) {
  if (c.schema().returns().size() < 2 || c.failed())
    return;
  if (!c.isUsed(1))
    return c.result(Val());
  if (spatial == 3)
    return c.refuse(Code::UnsupportedForm,
                    "the indices of maxima over three dimensions cannot be lowered; only the "
                    "values can be used");
  llvm::SmallVector<ReadTable, 2> tables;
  for (unsigned i = 0; e.valid() && i < spatial; ++i) {
    auto size = e.shape()[i + 2].tryValue();
    if (!size)
      return c.refuse(Code::NotKnown, "the indices of maxima need dimensions of known size");
    tables.emplace_back(reads(i, *size));
  }
  Expr indices = e.valid() ? maximaIndices(e, tables) : e;
  if (x.rank() == spatial + 1)
    indices = squeeze(indices, {0});
  c.result(indices, at::kLong);
}

template <unsigned Spatial> void lowerMaxPool(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  auto w = windows(c, x, Spatial);
  if (!w)
    return;
  Expr e = prepare(c, x, Spatial);
  bool dilated = llvm::any_of(w->dilation, [](int64_t d) { return d != 1; });
  finish(c, x, dilated ? dilatedMax(e, *w) : pool(e, OpKind::max_pool, *w), Spatial);
  giveIndices(c, x, e, Spatial, [&](unsigned i, int64_t size) {
    int64_t span = w->dilation[i] * (w->kernel[i] - 1) + 1;
    int64_t count = outputSize(size, span, w->stride[i], w->padding[i], w->ceil);
    Reads reads;
    for (int64_t o = 0; o < count; ++o) {
      PoolInts &window = reads.emplace_back();
      for (int64_t k = 0; k < w->kernel[i]; ++k) {
        int64_t at = o * w->stride[i] - w->padding[i] + k * w->dilation[i];
        if (at >= 0 && at < size)
          window.push_back(at);
      }
      if (window.empty()) // all padding: any place will do
        window.push_back(size - 1);
    }
    return reads;
  });
}

/// Values go to where they were the maximum; the rest is zero.
void lowerMaxUnpool(Call &c) {
  Tensor x = c.tensor("self"), indices = c.tensor("indices");
  Shape size = c.dims("output_size");
  if (c.failed())
    return;
  if ((x.rank() != 3 && x.rank() != 4) || size.size() != 2)
    return c.refuse(Code::OperandMismatch, "input of rank {0}; 3 or 4 is needed", x.rank());
  Shape result(x.shape().drop_back(2));
  Dim planes = numElements(result), pixels = numElements(x.shape().take_back(2));
  result.append(size.begin(), size.end());
  Value *scattered = c.emit(
      OpKind::scatter_along_axis,
      {{scatter_along_axis::data, c.full({planes, size[0] * size[1]}, DType::F32, 0)},
       {scatter_along_axis::indices, c.reshape(indices.value, {planes, pixels})},
       {scatter_along_axis::updates, c.reshape(c.castTo(x.value, DType::F32), {planes, pixels})},
       {scatter_along_axis::axis, 1},
       {scatter_along_axis::mode, "update"},
       {scatter_along_axis::validate_indices, false}});
  c.result(c.castTo(c.reshape(scattered, result), x.milType()), x.dtype);
}

/// For each output of one dimension, how many elements its window counts, padding included but not
/// what lies beyond it.
std::vector<float> windowCounts(int64_t size, int64_t kernel, int64_t stride, int64_t padding,
                                bool ceil) {
  std::vector<float> counts;
  int64_t n = outputSize(size, kernel, stride, padding, ceil);
  for (int64_t i = 0; i < n; ++i) {
    int64_t begin = i * stride - padding, end = std::min(begin + kernel, size + padding);
    counts.push_back(float(end - begin));
  }
  return counts;
}

template <unsigned Spatial> void lowerAvgPool(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  auto w = windows(c, x, Spatial);
  bool includePadding = c.boolean("count_include_pad");
  std::optional<int64_t> divisor;
  if (c.schema().argumentIndexWithName("divisor_override"))
    divisor = c.optionalInteger("divisor_override");
  if (!w || c.failed())
    return;
  if (divisor && w->dynamicCeil)
    return c.refuse(
        Code::NotKnown,
        "divisor_override with ceil_mode on a dimension of unknown size; Core ML divides "
        "by what the last window holds");
  if (includePadding && w->dynamicCeil && llvm::any_of(w->padding, [](int64_t p) { return p; }))
    return c.refuse(
        Code::NotKnown,
        "count_include_pad with ceil_mode on a dimension of unknown size; Core ML counts "
        "all of the padding or none");
  Expr e = prepare(c, x, Spatial);
  double area = 1;
  for (int64_t k : w->kernel)
    area *= k;
  if (divisor)
    return finish(c, x, pool(e, OpKind::avg_pool, *w) * (area / *divisor), Spatial);
  if (!includePadding || !w->hasExtra())
    return finish(c, x, pool(e, OpKind::avg_pool, *w, !includePadding || w->dynamicCeil), Spatial);
  // Padding counts, what ceil_mode adds does not: sums divided by the true counts.
  Expr y = pool(e, OpKind::avg_pool, *w) * area;
  for (unsigned i = 0; i < Spatial; ++i) {
    auto size = x.size(x.rank() - Spatial + i).tryValue();
    std::vector<float> counts =
        windowCounts(*size, w->kernel[i], w->stride[i], w->padding[i], w->ceil);
    llvm::SmallVector<int64_t, 5> shape(Spatial + 2, 1);
    shape[i + 2] = counts.size();
    y = y / Expr(c, c.builder().constant(TensorData::from<float>(DType::F32, shape, counts),
                                         "window_counts"));
  }
  finish(c, x, y, Spatial);
}

/// The window of output i in adaptive pooling.
std::pair<int64_t, int64_t> adaptiveWindow(int64_t i, int64_t size, int64_t outputs) {
  return {i * size / outputs, ((i + 1) * size + outputs - 1) / outputs};
}

/// Averages along one axis whose windows differ in size or overlap.
Expr adaptiveAverage(const Expr &x, int64_t axis, int64_t size, int64_t outputs) {
  Call &c = x.call();
  Taps taps{outputs, 0, {}, {}};
  std::vector<float> counts;
  for (int64_t i = 0; i < outputs; ++i) {
    auto [begin, end] = adaptiveWindow(i, size, outputs);
    taps.count = std::max(taps.count, end - begin);
    counts.push_back(float(end - begin));
  }
  for (int64_t i = 0; i < outputs; ++i) {
    auto [begin, end] = adaptiveWindow(i, size, outputs);
    for (int64_t k = begin; k < begin + taps.count; ++k)
      taps.positions.push_back(k < end ? k : size);
  }
  if (taps.count == 1) // more outputs than elements
    return gather(x, Expr(c, c.builder().ints(taps.positions)), axis);
  if (llvm::all_of(counts, [&](float n) { return n == float(taps.count); }))
    return readTaps(x, axis, taps, [](const Expr &read, int64_t at) {
      return reduce(OpKind::reduce_mean, read, at, false);
    });
  // A zero at the end, which the smaller windows read.
  Shape one(x.shape());
  one[axis] = 1;
  Expr longer = concat(c, {x.value(), c.full(one, DType::F32, 0)}, axis);
  return readTaps(longer, axis, taps, [&](const Expr &read, int64_t at) {
    llvm::SmallVector<int64_t, 5> shape(read.rank() - at, 1);
    shape[0] = outputs;
    Expr divisor(c, c.builder().constant(TensorData::from<float>(DType::F32, shape, counts),
                                         "window_sizes"));
    return reduce(OpKind::reduce_sum, read, at, false) / divisor;
  });
}

Expr adaptiveMaximum(const Expr &x, int64_t axis, int64_t size, int64_t outputs) {
  llvm::SmallVector<Value *, 8> parts;
  for (int64_t i = 0; i < outputs; ++i) {
    auto [begin, end] = adaptiveWindow(i, size, outputs);
    parts.push_back(reduce(OpKind::reduce_max, slice(x, axis, begin, end), axis, true));
  }
  return concat(x.call(), parts, axis);
}

template <unsigned Spatial, bool Average> void lowerAdaptivePool(Call &c) {
  Tensor x = c.tensor("self");
  PoolInts outputs = c.integers("output_size", Spatial);
  if (c.failed())
    return;
  if (x.rank() != Spatial + 1 && x.rank() != Spatial + 2)
    return c.refuse(Code::OperandMismatch, "input of rank {0}; {1} or {2} is needed", x.rank(),
                    Spatial + 1, Spatial + 2);
  for (int64_t size : outputs)
    if (size < 1)
      c.refuse(Code::UnsupportedForm, "an output of size {0}", size);
  Expr e = prepare(c, x, Spatial), y = e;
  llvm::SmallVector<int64_t, 3> whole; // axes that are reduced to one element
  Windows w;
  bool divides = true;
  for (unsigned i = 0; i < Spatial; ++i) {
    Dim size = y.shape()[i + 2];
    if (outputs[i] == 1) {
      whole.push_back(i + 2);
      divides = false;
      continue;
    }
    if (!size.isConst())
      return c.refuse(Code::NotKnown, "a dimension of unknown size can only be pooled to 1");
    divides &= size.value() % outputs[i] == 0;
    w.kernel.push_back(size.value() / outputs[i]);
  }
  if (divides) {
    w.stride = w.kernel;
    w.padding.assign(Spatial, 0);
    w.extra.assign(Spatial, 0);
    y = pool(y, Average ? OpKind::avg_pool : OpKind::max_pool, w, false);
  } else {
    if (!whole.empty())
      y = reduce(Average ? OpKind::reduce_mean : OpKind::reduce_max, y, whole, true);
    if (!y.valid())
      return;
    Shape repeated(y.shape()); // where one element is all that there is to pool
    for (unsigned i = 0; i < Spatial; ++i)
      if (repeated[i + 2] == Dim(1))
        repeated[i + 2] = outputs[i];
    y = Expr(c, c.broadcastTo(y, repeated));
    for (unsigned i = 0; i < Spatial; ++i) {
      int64_t size = y.valid() ? y.shape()[i + 2].value() : 1;
      if (outputs[i] != 1 && size != outputs[i])
        y = Average ? adaptiveAverage(y, i + 2, size, outputs[i])
                    : adaptiveMaximum(y, i + 2, size, outputs[i]);
    }
  }
  finish(c, x, y, Spatial);
  giveIndices(c, x, e, Spatial, [&](unsigned i, int64_t size) {
    Reads reads;
    for (int64_t o = 0; o < outputs[i]; ++o) {
      auto [begin, end] = adaptiveWindow(o, size, outputs[i]);
      auto positions = llvm::seq(begin, end);
      reads.emplace_back(positions.begin(), positions.end());
    }
    return reads;
  });
}
} // namespace

void registerPooling(Table &table) {
  table.add({"aten::max_pool1d", "aten::max_pool1d_with_indices"}, lowerMaxPool<1>);
  table.add({"aten::max_pool2d", "aten::max_pool2d_with_indices"}, lowerMaxPool<2>);
  table.add({"aten::max_pool3d", "aten::max_pool3d_with_indices"}, lowerMaxPool<3>);
  table.add({"aten::max_unpool2d"}, lowerMaxUnpool);
  table.add({"aten::avg_pool1d"}, lowerAvgPool<1>);
  table.add({"aten::avg_pool2d"}, lowerAvgPool<2>);
  table.add({"aten::avg_pool3d"}, lowerAvgPool<3>);
  table.add({"aten::adaptive_avg_pool1d"}, lowerAdaptivePool<1, true>);
  table.add({"aten::adaptive_avg_pool2d", "aten::_adaptive_avg_pool2d"},
            lowerAdaptivePool<2, true>);
  table.add({"aten::adaptive_avg_pool3d", "aten::_adaptive_avg_pool3d"},
            lowerAdaptivePool<3, true>);
  table.add({"aten::adaptive_max_pool1d"}, lowerAdaptivePool<1, false>);
  table.add({"aten::adaptive_max_pool2d"}, lowerAdaptivePool<2, false>);
  table.add({"aten::adaptive_max_pool3d"}, lowerAdaptivePool<3, false>);
}

} // namespace plait::frontend
