// Computed constants tile by tile. streamed() brings one into a form in which an element is found
// without looking at others: operands of elementwise operations get the result's shape (a stride of
// zero where they broadcast), products their small factor as a matrix in memory.
//
//   real_div([6000], [6000]) -> [6000]                       magnitude / norm
//   mul([6000, 6000], [6000, 1]) -> [6000, 6000]             the vector seen as a matrix
//   reduce_l2_norm([6000, 6000], axis 1) -> [6000]           read once, a tile at a time
//   matmul([6000, 8], [8, 6000]) -> [6000, 6000]             a row takes one of x, all of y
//   band_part([6000, 6000], 0, 0) -> [6000, 6000]            an identity, of a splat
//   concat([6000, 8], [2000, 8]) -> [8000, 8]                each part where it lies
//
// Arithmetic is fp32 in a fixed order: products sum up in ascending order of the inner index.
// Reductions sum up in fp64 in row-major order and are rounded once.
#include "mil/ComputedReader.h"

#include "mil/Concatenation.h"
#include "mil/OpInfo.h"

#include "llvm/ADT/STLExtras.h"
#include <cassert>
#include <cmath>

namespace plait::mil {

using Node = TensorData::Node;
using Kind = TensorData::Kind;
using Sizes = llvm::SmallVector<int64_t, 6>;

namespace {

/// Elements handled at once.
constexpr int64_t kChunk = 16 * 1024;

/// Null unless the parameter has the one operand and that is a tensor.
const TensorData *operand(const std::vector<std::vector<Attr>> &operands, unsigned param) {
  return param < operands.size() && operands[param].size() == 1 ? operands[param][0].tensor()
                                                                : nullptr;
}

bool hasComputed(const TensorData &tensor) {
  return tensor.kind() == Kind::Computed || llvm::any_of(tensor.node().inputs, hasComputed);
}

// ---- Elementwise operations ---------------------------------------------------------------------

bool isArithmetic(OpKind kind) {
  return kind == OpKind::add || kind == OpKind::sub || kind == OpKind::mul ||
         kind == OpKind::real_div;
}
bool isComparison(OpKind kind) {
  return kind == OpKind::equal || kind == OpKind::not_equal || kind == OpKind::less ||
         kind == OpKind::less_equal || kind == OpKind::greater || kind == OpKind::greater_equal;
}
bool isUnary(OpKind kind) {
  return kind == OpKind::sqrt || kind == OpKind::square || kind == OpKind::abs;
}

/// Reads of leaves that a tile takes, counted up to `limit`: a permutation that is left reads
/// everything for each tile.
unsigned readsOf(const TensorData &tensor, unsigned limit) {
  const Node &node = tensor.node();
  if (node.kind == Kind::Strided)
    return 1;
  if (node.kind == Kind::Permute)
    return limit;
  unsigned count = 0;
  for (const TensorData &input : node.inputs)
    if (count < limit)
      count += readsOf(input, limit - count);
  for (const std::vector<Attr> &attrs : node.operands)
    for (const Attr &attr : attrs)
      if (const TensorData *operand = attr.tensor(); operand && count < limit)
        count += readsOf(*operand, limit - count);
  return count;
}

/// Held where reading it tile by tile would read the same again and again.
TensorData settled(const TensorData &tensor) {
  constexpr unsigned limit = 32;
  return readsOf(tensor, limit) >= limit ? held(tensor) : tensor;
}

/// Those axes of `tensor` that `kept` names, of its shape with ones put before it up to `rank`.
TensorData withAxes(const TensorData &tensor, unsigned rank, llvm::ArrayRef<unsigned> kept) {
  Sizes shape(rank - tensor.rank(), 1), selected;
  llvm::append_range(shape, tensor.shape());
  for (unsigned axis : kept)
    selected.push_back(shape[axis]);
  return tensor.reshape(selected);
}

/// Seen in `shape`, with which it broadcasts. What is no view is computed and held: it is smaller
/// than the result.
TensorData broadcast(const TensorData &tensor, llvm::ArrayRef<int64_t> shape) {
  if (tensor.shape() == shape)
    return tensor;
  if (tensor.kind() == Kind::Cast && tensor.node().inputs[0].kind() == Kind::Strided)
    return broadcast(tensor.node().inputs[0], shape).cast(tensor.dtype());
  if (tensor.kind() != Kind::Strided)
    return broadcast(held(tensor), shape);
  const Node &view = tensor.node();
  Sizes strides;
  for (auto [size, stride, wanted] : llvm::zip(view.shape, view.strides, shape)) {
    assert(size == wanted || size == 1);
    strides.push_back(size == wanted ? stride : 0);
  }
  return TensorData::view(view.storage, view.byteOffset, view.dtype, shape, strides);
}

std::optional<TensorData> streamedElementwise(const Node &node,
                                              const std::vector<std::vector<Attr>> &operands) {
  unsigned count = isUnary(node.op) ? 1 : 2;
  bool compares = isComparison(node.op);
  // Axes of one element only make the loops over the others shorter.
  llvm::SmallVector<unsigned, 6> kept;
  Sizes shape;
  for (auto [axis, size] : llvm::enumerate(node.shape))
    if (size != 1) {
      kept.push_back(axis);
      shape.push_back(size);
    }
  std::vector<std::vector<Attr>> seen;
  for (unsigned param = 0; param < count; ++param) {
    const TensorData *tensor = operand(operands, param);
    if (!tensor || !(tensor->dtype() == DType::F32 || (compares && tensor->dtype() == DType::I32)))
      return std::nullopt;
    seen.push_back({Attr(broadcast(withAxes(settled(*tensor), node.shape.size(), kept), shape))});
  }
  if (node.dtype != (compares ? DType::Bool : DType::F32) ||
      (count == 2 && seen[0][0].tensor()->dtype() != seen[1][0].tensor()->dtype()))
    return std::nullopt;
  Type type = Type::tensor(node.dtype, llvm::ArrayRef<int64_t>(shape));
  return TensorData::computed(node.op, std::move(seen), type).reshape(node.shape);
}

template <typename T, typename R, typename Fn>
void apply(const T *x, const T *y, R *out, int64_t count, Fn fn) {
  for (int64_t i = 0; i < count; ++i)
    out[i] = fn(x[i], y[i]);
}

template <typename T> void compare(OpKind op, const T *x, const T *y, uint8_t *out, int64_t count) {
  switch (op) {
  case OpKind::equal:
    return apply(x, y, out, count, [](T a, T b) { return a == b; });
  case OpKind::not_equal:
    return apply(x, y, out, count, [](T a, T b) { return a != b; });
  case OpKind::less:
    return apply(x, y, out, count, [](T a, T b) { return a < b; });
  case OpKind::less_equal:
    return apply(x, y, out, count, [](T a, T b) { return a <= b; });
  case OpKind::greater:
    return apply(x, y, out, count, [](T a, T b) { return a > b; });
  default:
    return apply(x, y, out, count, [](T a, T b) { return a >= b; });
  }
}

void compute(OpKind op, const float *x, const float *y, float *out, int64_t count) {
  switch (op) {
  case OpKind::add:
    return apply(x, y, out, count, [](float a, float b) { return a + b; });
  case OpKind::sub:
    return apply(x, y, out, count, [](float a, float b) { return a - b; });
  case OpKind::mul:
    return apply(x, y, out, count, [](float a, float b) { return a * b; });
  case OpKind::real_div:
    return apply(x, y, out, count, [](float a, float b) { return a / b; });
  case OpKind::sqrt:
    return apply(x, x, out, count, [](float a, float) { return std::sqrt(a); });
  case OpKind::square:
    return apply(x, x, out, count, [](float a, float) { return a * a; });
  default:
    return apply(x, x, out, count, [](float a, float) { return std::abs(a); });
  }
}

size_t readElementwise(const Node &node, int64_t begin, int64_t count, uint8_t *out) {
  const TensorData &x = *node.operands[0][0].tensor();
  const TensorData &y = *node.operands.back()[0].tensor();
  bool binary = node.operands.size() == 2;
  std::vector<float> a(std::min(count, kChunk)), b(binary ? a.size() : 0), result(a.size());
  static_assert(sizeof(float) == sizeof(int32_t));
  int64_t width = node.dtype == DType::Bool ? 1 : sizeof(float);
  size_t overflowed = 0;
  for (int64_t done = 0; done < count; done += kChunk) {
    int64_t n = std::min(kChunk, count - done);
    auto read = [&](const TensorData &tensor, std::vector<float> &values) {
      overflowed +=
          readNode(tensor.node(), begin + done, n, reinterpret_cast<uint8_t *>(values.data()));
    };
    read(x, a);
    if (binary)
      read(y, b);
    uint8_t *target = out + done * width;
    if (node.dtype == DType::F32) {
      compute(node.op, a.data(), b.data(), result.data(), n);
      std::copy_n(reinterpret_cast<const uint8_t *>(result.data()), n * width, target);
    } else if (x.dtype() == DType::F32) {
      compare(node.op, a.data(), b.data(), target, n);
    } else {
      compare(node.op, reinterpret_cast<const int32_t *>(a.data()),
              reinterpret_cast<const int32_t *>(b.data()), target, n);
    }
  }
  return overflowed;
}

// ---- Products -----------------------------------------------------------------------------------

/// x [m, k] y [k, n] as a computed constant that reads rows of x and holds y, where y is the
/// smaller part.
std::optional<TensorData> product(const TensorData &x, const TensorData &y) {
  if (x.rank() != 2 || y.rank() != 2 || x.dtype() != DType::F32 || y.dtype() != DType::F32)
    return std::nullopt;
  int64_t rows = x.shape()[0], columns = y.shape()[1];
  if (2 * y.numElements() > std::max(x.numElements(), rows * columns))
    return std::nullopt;
  return TensorData::computed(
      OpKind::matmul,
      {{Attr(settled(x))}, {Attr(held(y))}, {Attr::boolean(false)}, {Attr::boolean(false)}},
      Type::tensor(DType::F32, {rows, columns}));
}

bool flag(const std::vector<std::vector<Attr>> &operands, unsigned param) {
  const TensorData *tensor = operand(operands, param);
  return tensor && tensor->contiguousBytes()[0] != 0;
}

std::optional<TensorData> streamedMatmul(const std::vector<std::vector<Attr>> &operands) {
  const TensorData *x = operand(operands, matmul::x), *y = operand(operands, matmul::y);
  if (!x || !y || x->rank() != 2 || y->rank() != 2)
    return std::nullopt;
  auto matrix = [&](const TensorData &tensor, unsigned transposed) {
    return flag(operands, transposed) ? permuteStreamed(tensor, {1, 0}) : tensor;
  };
  return product(matrix(*x, matmul::transpose_x), matrix(*y, matmul::transpose_y));
}

std::optional<TensorData> streamedLinear(const std::vector<std::vector<Attr>> &operands) {
  const TensorData *x = operand(operands, linear::x), *weight = operand(operands, linear::weight);
  const TensorData *bias = operand(operands, linear::bias);
  if (!x || !weight || x->rank() != 2 || weight->rank() != 2)
    return std::nullopt;
  auto y = product(*x, permuteStreamed(*weight, {1, 0}));
  if (!y || !bias)
    return y;
  TensorData sum = TensorData::computed(OpKind::add, {{Attr(*y)}, {Attr(*bias)}}, y->type());
  return streamed(sum.node(), sum.node().operands);
}

size_t readMatmul(const Node &node, int64_t begin, int64_t count, uint8_t *out) {
  const TensorData &x = *node.operands[matmul::x][0].tensor();
  const TensorData &y = *node.operands[matmul::y][0].tensor();
  int64_t inner = x.shape()[1], columns = node.shape[1];
  const auto *factor = reinterpret_cast<const float *>(y.contiguousBytes().data());
  std::vector<float> row(inner), sum(std::min(count, columns));
  size_t overflowed = 0;
  while (count > 0) {
    int64_t first = begin % columns, run = std::min(count, columns - first);
    overflowed += readFloats(x, begin / columns * inner, inner, row.data());
    std::fill_n(sum.begin(), run, 0.0f);
    for (int64_t i = 0; i < inner; ++i)
      addScaled(sum.data(), factor + i * columns + first, row[i], run);
    out = std::copy_n(reinterpret_cast<const uint8_t *>(sum.data()), run * sizeof(float), out);
    begin += run;
    count -= run;
  }
  return overflowed;
}

// ---- Bands --------------------------------------------------------------------------------------

/// The diagonals from -lower to upper of the last two axes; a negative bound keeps that whole side.
struct Band {
  int64_t lower, upper;
};

std::optional<Band> bandOf(const std::vector<std::vector<Attr>> &operands) {
  auto bound = [&](unsigned param) -> std::optional<int64_t> {
    const TensorData *tensor = operand(operands, param);
    if (!tensor)
      return -1;
    auto values = tensor->intValues();
    if (values)
      return (*values)[0];
    llvm::consumeError(values.takeError());
    return std::nullopt;
  };
  auto lower = bound(band_part::lower), upper = bound(band_part::upper);
  return lower && upper ? std::optional(Band{*lower, *upper}) : std::nullopt;
}

/// A computed constant of x, at least a matrix of fp32, and the two bounds.
TensorData banded(const TensorData &x, Band band) {
  return TensorData::computed(OpKind::band_part,
                              {{Attr(x)},
                               {Attr(TensorData::scalar(int32_t(band.lower)))},
                               {Attr(TensorData::scalar(int32_t(band.upper)))}},
                              x.type());
}

std::optional<TensorData> streamedBand(const std::vector<std::vector<Attr>> &operands) {
  const TensorData *x = operand(operands, band_part::x);
  auto band = bandOf(operands);
  if (!x || x->dtype() != DType::F32 || x->rank() < 2 || !band)
    return std::nullopt;
  return banded(settled(*x), *band);
}

size_t readBand(const Node &node, int64_t begin, int64_t count, uint8_t *out) {
  Band band = *bandOf(node.operands);
  int64_t rows = node.shape[node.shape.size() - 2], columns = node.shape.back();
  const TensorData &x = *node.operands[band_part::x][0].tensor();
  std::vector<float> values(std::min(count, columns));
  size_t overflowed = 0;
  while (count > 0) {
    int64_t row = begin / columns % rows, first = begin % columns;
    int64_t run = std::min(count, columns - first);
    overflowed += readFloats(x, begin, run, values.data());
    // What is kept of [first, first + run).
    int64_t from = band.lower < 0 ? first : std::clamp(row - band.lower, first, first + run);
    int64_t to = band.upper < 0 ? first + run : std::clamp(row + band.upper + 1, from, first + run);
    std::fill(values.begin(), values.begin() + (from - first), 0.0f);
    std::fill(values.begin() + (to - first), values.begin() + run, 0.0f);
    out = std::copy_n(reinterpret_cast<const uint8_t *>(values.data()), run * sizeof(float), out);
    begin += run;
    count -= run;
  }
  return overflowed;
}

// ---- Concatenations -----------------------------------------------------------------------------

std::optional<TensorData> streamedConcat(const Node &node,
                                         const std::vector<std::vector<Attr>> &operands) {
  llvm::SmallVector<TensorData, 4> parts;
  for (const Attr &value : operands[concat::values])
    if (const TensorData *part = value.tensor())
      parts.push_back(settled(*part));
  auto whole = concatenationOf(node);
  if (!whole || parts.size() != whole->parts.size())
    return std::nullopt;
  return Concatenation::make(parts, whole->axis);
}

size_t readConcat(const Node &node, int64_t begin, int64_t count, uint8_t *out) {
  size_t overflowed = 0;
  concatenationOf(node)->forEachRun(
      node.shape, begin, count, [&](const TensorData &part, int64_t from, int64_t at, int64_t run) {
        overflowed += readNode(part.node(), from, run, out + byteSize(node.dtype, at));
      });
  return overflowed;
}

// ---- Reductions ---------------------------------------------------------------------------------

std::optional<TensorData> reduced(const Node &node,
                                  const std::vector<std::vector<Attr>> &operands) {
  const TensorData *x = operand(operands, reduce_sum::x);
  const TensorData *axes = operand(operands, reduce_sum::axes);
  if (!x || x->dtype() != DType::F32 || node.dtype != DType::F32 || x->numElements() == 0)
    return std::nullopt;
  TensorData source = settled(*x);
  llvm::SmallVector<bool, 6> isReduced(x->rank(), !axes);
  if (axes) {
    auto values = axes->intValues();
    if (!values) {
      llvm::consumeError(values.takeError());
      return std::nullopt;
    }
    for (int64_t axis : *values)
      isReduced[axis < 0 ? axis + x->rank() : axis] = true;
  }
  // Where the next element of each axis goes in the result.
  Sizes strides(x->rank(), 0), index(x->rank(), 0);
  int64_t results = 1;
  for (size_t axis = x->rank(); axis-- > 0;)
    if (!isReduced[axis]) {
      strides[axis] = results;
      results *= x->shape()[axis];
    }
  std::vector<double> sums(results, 0);
  int64_t last = x->rank() ? x->shape().back() : 1, step = x->rank() ? strides.back() : 0;
  int64_t total = x->numElements(), target = 0, along = 0;
  std::vector<float> values(std::min(total, kChunk));
  bool squares = node.op == OpKind::reduce_l2_norm || node.op == OpKind::reduce_sum_square;
  bool magnitudes = node.op == OpKind::reduce_l1_norm;
  for (int64_t begin = 0; begin < total; begin += kChunk) {
    int64_t count = std::min(kChunk, total - begin);
    readFloats(source, begin, count, values.data());
    for (int64_t i = 0; i < count; ++i) {
      double value = values[i];
      sums[target + along * step] += squares ? value * value : magnitudes ? std::abs(value) : value;
      if (++along < last)
        continue;
      along = 0;
      for (size_t axis = x->rank() - std::min<size_t>(x->rank(), 1); axis-- > 0;) {
        target += strides[axis];
        if (++index[axis] < x->shape()[axis])
          break;
        target -= index[axis] * strides[axis];
        index[axis] = 0;
      }
    }
  }
  std::vector<float> rounded;
  for (double sum : sums) {
    if (node.op == OpKind::reduce_mean)
      sum /= double(total) / double(results);
    rounded.push_back(float(node.op == OpKind::reduce_l2_norm ? std::sqrt(sum) : sum));
  }
  return TensorData::from<float>(DType::F32, node.shape, rounded);
}

} // namespace

void addScaled(float *sum, const float *row, float factor, int64_t count) {
  // Blocks of a fixed size become vector code; each element is computed alike.
  constexpr int64_t block = 16;
  int64_t i = 0;
  for (; i + block <= count; i += block) {
    float products[block];
    for (int64_t j = 0; j < block; ++j)
      products[j] = factor * row[i + j];
    for (int64_t j = 0; j < block; ++j)
      sum[i + j] += products[j];
  }
  for (; i < count; ++i)
    sum[i] += factor * row[i];
}

TensorData held(const TensorData &tensor) {
  if (tensor.numElements() == 0)
    return tensor;
  if (const uint8_t *bytes = tensor.contiguousBytes().data();
      bytes && reinterpret_cast<uintptr_t>(bytes) % alignof(float) == 0)
    return tensor;
  std::vector<uint8_t> bytes(tensor.byteSize());
  readNode(tensor.node(), 0, tensor.numElements(), bytes.data());
  return TensorData::fromBytes(tensor.dtype(), tensor.shape(), std::move(bytes));
}

std::optional<TensorData> streamed(const Node &node,
                                   const std::vector<std::vector<Attr>> &operands) {
  switch (node.op) {
  case OpKind::matmul:
    return streamedMatmul(operands);
  case OpKind::linear:
    return streamedLinear(operands);
  case OpKind::band_part:
    return streamedBand(operands);
  case OpKind::concat:
    return streamedConcat(node, operands);
  case OpKind::reduce_sum:
  case OpKind::reduce_mean:
  case OpKind::reduce_sum_square:
  case OpKind::reduce_l1_norm:
  case OpKind::reduce_l2_norm:
    return reduced(node, operands);
  default:
    if (isArithmetic(node.op) || isComparison(node.op) || isUnary(node.op))
      return streamedElementwise(node, operands);
    return std::nullopt;
  }
}

TensorData permuteStreamed(const TensorData &tensor, llvm::ArrayRef<int64_t> perm) {
  if (llvm::is_sorted(perm) || !hasComputed(tensor)) // sorted: the identity
    return tensor.permute(perm);
  const Node &node = tensor.node();
  switch (node.kind) {
  case Kind::Cast:
    return permuteStreamed(node.inputs[0], perm).cast(node.dtype);
  case Kind::Scale:
    return permuteStreamed(node.inputs[0], perm).scale(node.factor);
  case Kind::LoraMerge:
    return permuteStreamed(node.inputs[0], perm)
        .loraMerge(permuteStreamed(node.inputs[2], perm),
                   held(permuteStreamed(node.inputs[1], perm).cast(DType::F32)), node.factor);
  case Kind::Computed: {
    if (node.op == OpKind::matmul) { // (x y)' = y' x'
      const TensorData &x = *node.operands[matmul::x][0].tensor();
      const TensorData &y = *node.operands[matmul::y][0].tensor();
      if (auto swapped = product(permuteStreamed(y, perm), permuteStreamed(x, perm)))
        return *swapped;
      break;
    }
    if (node.op == OpKind::band_part) {
      Band band = *bandOf(node.operands);
      if (perm.size() != 2)
        break;
      return banded(permuteStreamed(*node.operands[band_part::x][0].tensor(), perm),
                    {band.upper, band.lower});
    }
    if (auto whole = concatenationOf(node)) {
      llvm::SmallVector<TensorData, 4> parts;
      for (const TensorData *part : whole->parts)
        parts.push_back(permuteStreamed(*part, perm));
      return Concatenation::make(parts, llvm::find(perm, int64_t(whole->axis)) - perm.begin());
    }
    std::vector<std::vector<Attr>> operands;
    for (const std::vector<Attr> &attrs : node.operands)
      operands.push_back({Attr(permuteStreamed(*attrs[0].tensor(), perm))});
    Sizes shape;
    for (int64_t axis : perm)
      shape.push_back(node.shape[axis]);
    return TensorData::computed(node.op, std::move(operands),
                                Type::tensor(node.dtype, llvm::ArrayRef<int64_t>(shape)));
  }
  case Kind::Reshape: { // one that only adds axes of one element
    const TensorData &input = node.inputs[0];
    Sizes place(node.shape.size(), -1), sizes, inner, shape;
    for (auto [axis, size] : llvm::enumerate(node.shape))
      if (size != 1) {
        place[axis] = sizes.size();
        sizes.push_back(size);
      }
    for (int64_t axis : perm) {
      shape.push_back(node.shape[axis]);
      if (place[axis] >= 0)
        inner.push_back(place[axis]);
    }
    if (input.shape() == llvm::ArrayRef<int64_t>(sizes))
      return permuteStreamed(input, inner).reshape(shape);
    break;
  }
  default:
    break;
  }
  return held(tensor).permute(perm);
}

size_t readComputed(const Node &node, int64_t begin, int64_t count, uint8_t *out) {
  switch (node.op) {
  case OpKind::matmul:
    return readMatmul(node, begin, count, out);
  case OpKind::band_part:
    return readBand(node, begin, count, out);
  case OpKind::concat:
    return readConcat(node, begin, count, out);
  default:
    return readElementwise(node, begin, count, out);
  }
}

} // namespace plait::mil
