// constexpr_*: weights that are stored compressed.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

/// Each element repeated over its block, until the tensor has `shape`.
at::Tensor overBlocks(at::Tensor x, at::IntArrayRef shape) {
  TORCH_CHECK(x.dim() == int64_t(shape.size()), "ranks ", x.dim(), " and ", shape.size(),
              " differ");
  for (int64_t i = 0; i < x.dim(); ++i) {
    TORCH_CHECK(x.size(i) > 0 && shape[i] % x.size(i) == 0, "axis ", i, " of size ", shape[i],
                " does not divide into ", x.size(i), " blocks");
    if (int64_t block = shape[i] / x.size(i); block > 1)
      x = x.repeat_interleave(block, i);
  }
  return x;
}

/// scale * (data - offset), each of scale and offset standing for a block of data.
at::Tensor shiftScale(const at::Tensor &data, const at::Tensor &scale, const at::Tensor &offset) {
  at::Tensor x = data.to(scale.scalar_type());
  if (offset.defined())
    x = x - overBlocks(offset.to(scale.scalar_type()), data.sizes());
  return x * overBlocks(scale, data.sizes());
}

/// Zeros with `values` where `mask` is set, in row-major order.
at::Tensor spread(const at::Tensor &values, const at::Tensor &mask) {
  at::Tensor where = mask.ne(0);
  int64_t count = where.sum().item<int64_t>();
  TORCH_CHECK(count == values.numel(), "the mask has ", count, " bits set for ", values.numel(),
              " values");
  at::Tensor dense = at::zeros(mask.sizes(), values.options());
  return dense.masked_scatter(where, values.contiguous());
}

/// Copies to `out` the elements of `tables` that `indices` names, one table of `palette` elements a
/// block; `blocks` divide `shape`. Row-major, all of them.
template <typename T>
void lookUpScalars(const uint8_t *indices, const T *tables, T *out, at::IntArrayRef shape,
                   at::IntArrayRef blocks, int64_t palette) {
  int64_t rank = int64_t(shape.size()), last = shape[rank - 1], rows = 1;
  int64_t step = last / blocks[rank - 1];
  for (int64_t i = 0; i + 1 < rank; ++i)
    rows *= shape[i];
  for (int64_t row = 0; row < rows; ++row) {
    int64_t table = 0, scale = blocks[rank - 1];
    for (int64_t i = rank - 2, rest = row; i >= 0; --i) {
      table += rest % shape[i] / (shape[i] / blocks[i]) * scale;
      scale *= blocks[i];
      rest /= shape[i];
    }
    for (int64_t begin = 0; begin < last; begin += step, ++table)
      for (int64_t i = row * last + begin, end = i + step; i < end; ++i)
        out[i] = tables[table * palette + indices[i]];
  }
}

/// lut is [blocks of each axis…, palette, vector]; an index stands for a vector along `axis`.
at::Tensor lookUp(at::Tensor indices, at::Tensor lut, int64_t axis) {
  int64_t rank = indices.dim(), palette = lut.size(-2), length = lut.size(-1);
  TORCH_CHECK(lut.dim() == rank + 2, "lut has rank ", lut.dim(), " for indices of rank ", rank);
  std::vector<int64_t> blocks(lut.sizes().begin(), lut.sizes().begin() + rank);
  int64_t tables = 1;
  for (int64_t i = 0; i < rank; ++i) {
    TORCH_CHECK(blocks[i] > 0 && indices.size(i) % blocks[i] == 0, "axis ", i, " of size ",
                indices.size(i), " does not divide into ", blocks[i], " groups");
    tables *= blocks[i];
  }
  TORCH_CHECK(indices.scalar_type() == at::kByte && indices.numel() > 0, "indices are no bytes");
  if (length == 1) {
    int64_t largest = indices.max().item<int64_t>();
    TORCH_CHECK(largest < palette, "index ", largest, " into a table of ", palette);
    indices = indices.contiguous();
    lut = lut.contiguous();
    at::Tensor out = at::empty(indices.sizes(), lut.options());
    auto run = [&](auto unit) {
      using T = decltype(unit);
      lookUpScalars(indices.const_data_ptr<uint8_t>(), static_cast<const T *>(lut.const_data_ptr()),
                    static_cast<T *>(out.data_ptr()), indices.sizes(), blocks, palette);
    };
    switch (lut.element_size()) {
    case 1:
      run(uint8_t());
      break;
    case 2:
      run(uint16_t());
      break;
    default:
      TORCH_CHECK(lut.element_size() == 4, "a table of ", lut.scalar_type());
      run(uint32_t());
    }
    return out;
  }
  // The number of each element's block, then of its entry in the flattened tables.
  at::Tensor table = overBlocks(at::arange(tables, at::kLong).reshape(blocks), indices.sizes());
  at::Tensor entry = table * palette + indices.to(at::kLong);
  at::Tensor vectors = lut.reshape({tables * palette, length}).index_select(0, entry.flatten());
  std::vector<int64_t> shape(indices.sizes().begin(), indices.sizes().end());
  shape.push_back(length);
  axis = axis < 0 ? axis + rank : axis;
  return vectors.reshape(shape).movedim(-1, axis + 1).flatten(axis, axis + 1);
}

Results evalAffineDequantize(EvalContext &c) {
  namespace p = constexpr_affine_dequantize;
  at::Tensor scale = c.value(p::scale), data = c.raw(p::quantized_data).to(scale.scalar_type());
  std::vector<int64_t> shape(data.dim(), 1);
  shape[c.axis(p::axis, data.dim(), 0)] = -1;
  auto along = [&](const at::Tensor &t) {
    return t.numel() == 1 ? t.reshape({}) : t.reshape(shape);
  };
  return (data - along(c.value(p::zero_point).to(scale.scalar_type()))) * along(scale);
}

Results evalBlockwiseShiftScale(EvalContext &c) {
  namespace p = constexpr_blockwise_shift_scale;
  return shiftScale(c.raw(p::data), c.value(p::scale), c.valueOr(p::offset));
}

Results evalSparseBlockwiseShiftScale(EvalContext &c) {
  namespace p = constexpr_sparse_blockwise_shift_scale;
  at::Tensor mask = c.raw(p::data_mask);
  at::Tensor dense =
      shiftScale(spread(c.raw(p::nonzero_data), mask), c.value(p::scale), c.valueOr(p::offset));
  return Results::of({mask, dense.masked_select(mask.ne(0))});
}

/// `count` numbers of `width` bits each, packed from the low bits.
at::Tensor unpackBits(const at::Tensor &bytes, int64_t width, int64_t count) {
  at::Tensor bits =
      bytes.reshape({-1, 1}).to(at::kLong).bitwise_right_shift(at::arange(8, at::kLong));
  bits = bits.bitwise_and(1).flatten();
  TORCH_CHECK(bits.numel() >= count * width, bytes.numel(), " bytes do not hold ", count,
              " elements of ", width, " bits");
  at::Tensor weights = at::ones({}, at::kLong).bitwise_left_shift(at::arange(width, at::kLong));
  return (bits.slice(0, 0, count * width).reshape({count, width}) * weights).sum(1);
}

int64_t elementsOf(const std::vector<int64_t> &shape) {
  int64_t result = 1;
  for (int64_t size : shape)
    result *= size;
  return result;
}

Results evalLutToDense(EvalContext &c) {
  namespace p = constexpr_lut_to_dense;
  if (c.has(p::shape)) { // iOS16: one table, packed indices
    std::vector<int64_t> shape = c.ints(p::shape);
    at::Tensor lut = c.raw(p::lut);
    int64_t width = 0;
    while ((int64_t(1) << width) < lut.numel())
      ++width;
    at::Tensor indices =
        unpackBits(c.raw(p::indices), std::max<int64_t>(width, 1), elementsOf(shape));
    return lut.flatten().index_select(0, indices).reshape(shape);
  }
  return lookUp(c.raw(p::indices), c.raw(p::lut), c.integer(p::vector_axis, 0));
}

Results evalLutToSparse(EvalContext &c) {
  namespace p = constexpr_lut_to_sparse;
  at::Tensor mask = c.raw(p::indices_mask), lut = c.raw(p::lut);
  int64_t axis = c.integer(p::vector_axis, 0);
  at::Tensor dense = lookUp(spread(c.raw(p::indices_nonzero_data), mask), lut, axis);
  if (lut.size(-1) > 1)
    mask = mask.repeat_interleave(lut.size(-1), axis < 0 ? axis + mask.dim() : axis);
  return Results::of({mask, dense.masked_select(mask.ne(0))});
}

Results evalSparseToDense(EvalContext &c) {
  namespace p = constexpr_sparse_to_dense;
  if (c.has(p::shape)) { // iOS16: the mask is packed bits
    std::vector<int64_t> shape = c.ints(p::shape);
    return spread(c.raw(p::nonzero_data),
                  unpackBits(c.raw(p::mask), 1, elementsOf(shape)).reshape(shape));
  }
  return spread(c.raw(p::nonzero_data), c.raw(p::mask));
}

} // namespace

void registerCompression(Registry &r) {
  r.add(OpKind::constexpr_affine_dequantize, evalAffineDequantize);
  r.add(OpKind::constexpr_blockwise_shift_scale, evalBlockwiseShiftScale);
  r.add(OpKind::constexpr_cast,
        [](EvalContext &c) -> Results { return c.raw(constexpr_cast::source_val); });
  r.add(OpKind::constexpr_lut_to_dense, evalLutToDense);
  r.add(OpKind::constexpr_lut_to_sparse, evalLutToSparse);
  r.add(OpKind::constexpr_sparse_blockwise_shift_scale, evalSparseBlockwiseShiftScale);
  r.add(OpKind::constexpr_sparse_to_dense, evalSparseToDense);
}

} // namespace plait::runtime
