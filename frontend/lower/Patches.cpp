// Rearrangements of pixels and windows: pixel_shuffle, channel_shuffle, im2col, col2im, unfold,
// as_strided.
#include "frontend/engine/Engine.h"
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"

namespace plait::frontend {

using namespace mil;

namespace {
/// MIL's pixel shuffles take rank 4: other leading axes are merged into one.
template <bool Shuffle> void lowerPixelShuffle(Call &c) {
  Tensor x = c.tensor("self");
  int64_t factor = c.integer(Shuffle ? "upscale_factor" : "downscale_factor");
  if (c.failed())
    return;
  if (x.rank() < 3)
    return c.refuse(Code::OperandMismatch, "input of rank {0}; 3 or more is needed", x.rank());
  auto last = x.shape().take_back(3);
  Dim area = factor * factor;
  Shape result(x.shape().drop_back(3));
  Dim images = numElements(result);
  if (Shuffle)
    result.append({floordiv(last[0], area), last[1] * Dim(factor), last[2] * Dim(factor)});
  else
    result.append({last[0] * area, floordiv(last[1], Dim(factor)), floordiv(last[2], Dim(factor))});
  Value *image = x.rank() == 4 ? x.value : c.reshape(x.value, {images, last[0], last[1], last[2]});
  Expr e = castTo(Expr(c, image), DType::F32);
  Expr y =
      Shuffle
          ? Expr(c, c.emit(OpKind::pixel_shuffle, {{pixel_shuffle::x, e.value()},
                                                   {pixel_shuffle::upscale_factor, factor}}))
          : Expr(c, c.emit(OpKind::pixel_unshuffle, {{pixel_unshuffle::x, e.value()},
                                                     {pixel_unshuffle::downscale_factor, factor}}));
  c.result(castTo(x.rank() == 4 ? y : Expr(c, c.reshape(y, result)), x.milType()), x.dtype);
}

/// [N, groups, C / groups, …] with the two channel axes exchanged.
void lowerChannelShuffle(Call &c) {
  Tensor x = c.tensor("self");
  int64_t groups = c.integer("groups");
  if (c.failed())
    return;
  if (x.rank() < 3)
    return c.refuse(Code::OperandMismatch, "input of rank {0}; 3 or more is needed", x.rank());
  Dim pixels = numElements(x.shape().drop_front(2));
  Value *split = c.reshape(x.value, {x.size(0), groups, floordiv(x.size(1), Dim(groups)), pixels});
  c.result(c.reshape(c.permute(split, {0, 2, 1, 3}), x.shape()), x.dtype);
}

struct Window {
  llvm::SmallVector<int64_t, 6> kernel, dilation, padding, stride;
};

Window windowOf(Call &c) {
  return {c.integers("kernel_size", 2), c.integers("dilation", 2), c.integers("padding", 2),
          c.integers("stride", 2)};
}

/// What windows read along one axis, by (offset in the window, window).
Expr positions(Call &c, const Window &w, int axis, const Dim &count) {
  int64_t kernel = w.kernel[axis], dilation = w.dilation[axis], stride = w.stride[axis];
  if (auto windows = count.tryValue()) {
    llvm::SmallVector<int64_t, 0> known;
    for (int64_t k = 0; k < kernel; ++k)
      for (int64_t n = 0; n < *windows; ++n)
        known.push_back(k * dilation + n * stride);
    return Expr(c, c.builder().ints(known));
  }
  Expr offset(c, c.reshape(iota(c, kernel), {kernel, 1}));
  Expr window(c, c.reshape(iota(c, count), {1, count}));
  return Expr(
      c, c.reshape(offset * double(dilation) + window * double(stride), {count * Dim(kernel)}));
}

/// Patches as columns. Rows of the padded image are gathered by (offset in the window, window),
/// then columns; the rest is a transposition of at most rank 5.
void lowerIm2col(Call &c) {
  Tensor x = c.tensor("self");
  Window w = windowOf(c);
  if (c.failed())
    return;
  if (x.rank() != 3 && x.rank() != 4)
    return c.refuse(Code::OperandMismatch, "input of rank {0}; 3 or 4 is needed", x.rank());
  auto s = x.shape().take_back(3);
  Dim batch = x.rank() == 4 ? x.size(0) : Dim(1);
  Expr image(c, c.reshape(c.castTo(x.value, DType::F32), {batch * s[0], s[1], s[2]}));
  if (w.padding[0] || w.padding[1])
    image =
        Expr(c, c.emit(OpKind::pad,
                       {{pad::x, image.value()},
                        {pad::pad, {0, 0, w.padding[0], w.padding[0], w.padding[1], w.padding[1]}},
                        {pad::mode, "constant"},
                        {pad::constant_val, 0.0}}));
  Dim counts[2];
  for (int i = 0; i < 2; ++i) {
    Dim span = s[1 + i] + Dim(2 * w.padding[i] - w.dilation[i] * (w.kernel[i] - 1) - 1);
    counts[i] = floordiv(span, Dim(w.stride[i])) + Dim(1);
    if (counts[i].upper() < 1)
      return c.refuse(Code::OperandMismatch, "the window does not fit the image");
    image = gather(image, positions(c, w, i, counts[i]), 1 + i);
  }
  Value *split = c.reshape(image, {batch * s[0], w.kernel[0], counts[0], w.kernel[1], counts[1]});
  Value *columns = c.permute(split, {0, 1, 3, 2, 4});
  Shape shape{s[0] * Dim(w.kernel[0] * w.kernel[1]), counts[0] * counts[1]};
  if (x.rank() == 4)
    shape.insert(shape.begin(), batch);
  c.result(castTo(Expr(c, c.reshape(columns, shape)), x.milType()), x.dtype);
}

/// Columns summed back into an image: a transposed convolution whose kernel puts each row of a
/// window's column at its pixel.
void lowerCol2im(Call &c) {
  Tensor x = c.tensor("self");
  Window w = windowOf(c);
  auto size = c.integers("output_size", 2);
  if (c.failed())
    return;
  if (x.rank() != 2 && x.rank() != 3)
    return c.refuse(Code::OperandMismatch, "input of rank {0}; 2 or 3 is needed", x.rank());
  auto rows = x.size(x.rank() - 2).tryValue();
  int64_t area = w.kernel[0] * w.kernel[1];
  if (!rows || *rows % area)
    return c.refuse(Code::NotKnown,
                    "the number of rows must be known and a multiple of the window's area");
  int64_t channels = *rows / area, counts[2];
  for (int i = 0; i < 2; ++i)
    counts[i] =
        (size[i] + 2 * w.padding[i] - w.dilation[i] * (w.kernel[i] - 1) - 1) / w.stride[i] + 1;
  Dim batch = x.rank() == 3 ? x.size(0) : Dim(1);
  Value *image = c.reshape(c.castTo(x.value, DType::F32), {batch, *rows, counts[0], counts[1]});
  std::vector<float> kernel(*rows * area, 0);
  for (int64_t row = 0; row < *rows; ++row)
    kernel[row * area + row % area] = 1;
  Value *weight = c.builder().constant(
      TensorData::from<float>(DType::F32, {*rows, 1, w.kernel[0], w.kernel[1]}, kernel), "fold");
  Expr y(c, c.emit(OpKind::conv_transpose,
                   {{conv_transpose::x, image},
                    {conv_transpose::weight, weight},
                    {conv_transpose::pad, {0, 0, 0, 0}},
                    {conv_transpose::pad_type, "valid"},
                    {conv_transpose::strides, llvm::ArrayRef<int64_t>(w.stride)},
                    {conv_transpose::dilations, llvm::ArrayRef<int64_t>(w.dilation)},
                    {conv_transpose::groups, channels}}));
  // Cut the padding off; what no window reaches at the end is zero.
  llvm::SmallVector<int64_t, 8> pads(8, 0);
  for (int i = 0; i < 2 && y.valid(); ++i) {
    int64_t full = (counts[i] - 1) * w.stride[i] + w.dilation[i] * (w.kernel[i] - 1) + 1;
    int64_t end = std::min(full, w.padding[i] + size[i]);
    y = slice(y, 2 + i, w.padding[i], end);
    pads[2 * (2 + i) + 1] = size[i] - (end - w.padding[i]);
  }
  if (llvm::any_of(pads, [](int64_t p) { return p != 0; }))
    y = Expr(c, c.emit(OpKind::pad, {{pad::x, y.value()},
                                     {pad::pad, llvm::ArrayRef<int64_t>(pads)},
                                     {pad::mode, "constant"},
                                     {pad::constant_val, 0.0}}));
  if (x.rank() == 2)
    y = squeeze(y, {0});
  c.result(castTo(y, x.milType()), x.dtype);
}

/// Windows along one axis; PyTorch has their elements as a last axis, MIL beside the windows.
void lowerUnfold(Call &c) {
  Tensor x = c.tensor("self");
  int64_t size = c.integer("size"), step = c.integer("step");
  if (c.failed())
    return;
  int64_t axis = c.axis("dimension", x.rank());
  if (c.failed())
    return;
  Expr e = x.isBool() ? castTo(Expr(c, x), DType::I32) : Expr(c, x);
  Expr windows(c, c.emit(OpKind::sliding_windows, {{sliding_windows::x, e.value()},
                                                   {sliding_windows::axis, axis},
                                                   {sliding_windows::size, size},
                                                   {sliding_windows::stride, step}}));
  if (!windows.valid())
    return;
  llvm::SmallVector<int64_t, 6> perm = allAxes(windows.rank());
  llvm::erase(perm, axis + 1);
  perm.push_back(axis + 1);
  c.result(castTo(llvm::is_sorted(perm) ? windows : Expr(c, c.permute(windows, perm)), x.milType()),
           x.dtype);
}
/// As many of the last axes as are neighbours in memory, where all positions are multiples of their
/// number of elements.
int64_t trailingBlock(llvm::ArrayRef<Dim> size, llvm::ArrayRef<Dim> stride, const Dim &offset,
                      const Dim &total) {
  int64_t block = 1;
  for (size_t axis = size.size(); axis-- > 0;) {
    if (!size[axis].isConst() || size[axis].value() < 1 || !(stride[axis] == Dim(block)))
      break;
    int64_t larger = block * size[axis].value();
    auto isMultiple = [&](const Dim &n) { return floormod(n, larger) == Dim(0); };
    if (!isMultiple(offset) || !isMultiple(total) ||
        !llvm::all_of(stride.take_front(axis), isMultiple))
      break;
    block = larger;
  }
  return block;
}

/// Elements of the memory behind a tensor at positions given by strides, which may overlap. What
/// the memory holds is known where it is row-major; the tensor itself may be any view of it.
void lowerAsStrided(Call &c) {
  Tensor x = c.tensor("self");
  Shape size = c.dims("size"), stride = c.dims("stride");
  auto object = c.val("self").tensor();
  if (c.failed())
    return;
  if (size.size() != stride.size())
    return c.refuse(Code::UnsupportedForm, "{0} sizes and {1} strides", size.size(), stride.size());
  std::optional<Dim> begin;
  if (object)
    begin = !object->view.empty()   ? object->offset
            : isContiguous(*object) ? std::optional(Dim(0))
                                    : std::nullopt;
  if (!begin)
    return c.refuse(Code::SharedMemory,
                    "the tensor is not a view of memory in row-major order; call "
                    "clone(memory_format=torch.contiguous_format) on it first");
  Dim offset = c.has("storage_offset") ? c.dim("storage_offset") : *begin;
  TensorObj memory;
  memory.cell = object->cell;
  memory.shape = object->cell->shape;
  if (at::Tensor known = c.engine().readKnown(memory);
      known.defined() && !object->cell->attribute.empty() &&
      !(known.is_contiguous() && known.storage_offset() == 0))
    return c.refuse(Code::SharedMemory,
                    "the parameter is not stored in row-major order from the start of its memory; "
                    "call clone(memory_format=torch.contiguous_format) on it first");
  Value *all = object->view.empty() ? x.value : c.engine().read(memory);
  if (c.failed() || Builder::isPoison(all))
    return;
  // Rows of neighbours are taken as wholes.
  Dim total = numElements(memory.shape);
  int64_t block = trailingBlock(size, stride, offset, total);
  Shape outer(size);
  for (int64_t left = block; left > 1; outer.pop_back())
    left /= outer.back().value();
  Expr where = sizeOf(c, floordiv(offset, block));
  for (auto [i, n] : llvm::enumerate(outer)) {
    Shape along(outer.size(), 1);
    along[i] = n;
    where =
        where + Expr(c, c.reshape(iota(c, n), along)) * sizeOf(c, floordiv(stride[i], Dim(block)));
  }
  Shape rows(1, floordiv(total, block));
  if (block > 1)
    rows.push_back(block);
  Expr flat(c, c.reshape(all, rows));
  if (x.isBool())
    flat = castTo(flat, DType::I32);
  Expr at(c, c.reshape(where, {numElements(outer)}));
  c.result(c.reshape(castTo(gather(flat, at, 0), x.milType()), size), x.dtype);
}
/// A known tensor that was computed here may have other strides than LibTorch's would: only
/// attributes are laid out as in LibTorch.
WhenKnown whenAsStridedIsKnown(ValueCall &c) {
  auto self = c.self();
  bool isAttribute = self && !self->cell->attribute.empty() && self->view.empty();
  return isAttribute ? WhenKnown::Compute : WhenKnown::Lower;
}
} // namespace

void registerPatches(Table &table) {
  table.add({"aten::pixel_shuffle"}, lowerPixelShuffle<true>);
  table.add({"aten::pixel_unshuffle"}, lowerPixelShuffle<false>);
  table.add({"aten::channel_shuffle", "aten::native_channel_shuffle"}, lowerChannelShuffle);
  table.add({"aten::im2col"}, lowerIm2col);
  table.add({"aten::col2im"}, lowerCol2im);
  table.add({"aten::unfold"}, lowerUnfold);
  table.add({"aten::as_strided"}, lowerAsStrided);
  table.setWhenKnown({"aten::as_strided"}, whenAsStridedIsKnown);
}

} // namespace plait::frontend
