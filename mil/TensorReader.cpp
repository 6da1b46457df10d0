// Reading elements of lazy constants. Views are gathered. Transforms are computed tile by tile in a
// fixed order of operations, so that the bytes are the same on every machine and for every tiling.
// Functions that compute elements return how many finite ones became infinite because fp16 cannot
// hold them.
#include "mil/Evaluator.h"
#include "mil/TensorData.h"

#include "mil/ComputedReader.h"
#include "mil/Concatenation.h"
#include "mil/NonFinite.h"
#include "mil/OpInfo.h"
#include "mil/SaturatedRead.h"
#include "support/Half.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/bit.h"
#include <cassert>
#include <cmath>
#include <cstring>

namespace plait::mil {

using Node = TensorData::Node;
using Kind = TensorData::Kind;

namespace {

/// Elements handled at once by the transforms: small enough for the cache, large enough for the
/// vector code; and where the input is gathered from all over a view, enough to use whole lines.
constexpr int64_t kChunk = 16 * 1024, kGatherChunk = 256 * 1024;

// ---- Sub-byte elements --------------------------------------------------------------------------

uint64_t unpackBits(const uint8_t *bytes, int64_t index, unsigned width) {
  uint64_t value = 0;
  for (unsigned bit = 0; bit < width; ++bit) {
    uint64_t position = uint64_t(index) * width + bit;
    value |= uint64_t((bytes[position / 8] >> (position % 8)) & 1) << bit;
  }
  return value;
}

void packBits(uint8_t *bytes, int64_t index, unsigned width, uint64_t value) {
  for (unsigned bit = 0; bit < width; ++bit) {
    uint64_t position = uint64_t(index) * width + bit;
    uint8_t mask = uint8_t(1u << (position % 8));
    bytes[position / 8] =
        (value >> bit) & 1 ? bytes[position / 8] | mask : bytes[position / 8] & ~mask;
  }
}

// ---- One element at a time
// ------------------------------------------------------------------------

template <typename T> T load(const uint8_t *bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes + index * sizeof(T), sizeof(T));
  return value;
}
template <typename T> void store(uint8_t *bytes, int64_t index, T value) {
  std::memcpy(bytes + index * sizeof(T), &value, sizeof(T));
}

/// Round to nearest even; NaN stays a quiet NaN.
uint16_t floatToBfloat16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value);
  if (std::isnan(value))
    return 0x7FC0;
  return uint16_t((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

int64_t loadInt(DType dtype, const uint8_t *bytes, int64_t i) {
  switch (dtype) {
  case DType::Bool:
  case DType::U8:
    return bytes[i];
  case DType::I8:
    return load<int8_t>(bytes, i);
  case DType::I16:
    return load<int16_t>(bytes, i);
  case DType::U16:
    return load<uint16_t>(bytes, i);
  case DType::I32:
    return load<int32_t>(bytes, i);
  case DType::U32:
    return load<uint32_t>(bytes, i);
  case DType::I64:
    return load<int64_t>(bytes, i);
  case DType::U64:
    return int64_t(load<uint64_t>(bytes, i));
  default: {
    assert(isSubByte(dtype));
    unsigned width = bitWidth(dtype);
    uint64_t raw = unpackBits(bytes, i, width);
    return dtype == DType::I4 && (raw & 8) ? int64_t(raw) - 16 : int64_t(raw);
  }
  }
}

void storeInt(DType dtype, uint8_t *bytes, int64_t i, int64_t value) {
  switch (dtype) {
  case DType::Bool:
    bytes[i] = value != 0;
    return;
  case DType::U8:
  case DType::I8:
    bytes[i] = uint8_t(value);
    return;
  case DType::I16:
  case DType::U16:
    return store(bytes, i, uint16_t(value));
  case DType::I32:
  case DType::U32:
    return store(bytes, i, uint32_t(value));
  case DType::I64:
  case DType::U64:
    return store(bytes, i, value);
  default:
    assert(isSubByte(dtype));
    packBits(bytes, i, bitWidth(dtype), uint64_t(value));
  }
}

double loadFloat(DType dtype, const uint8_t *bytes, int64_t i) {
  switch (dtype) {
  case DType::F64:
    return load<double>(bytes, i);
  case DType::F32:
    return load<float>(bytes, i);
  case DType::F16:
    return halfToFloat(load<uint16_t>(bytes, i));
  case DType::BF16: {
    uint16_t raw = load<uint16_t>(bytes, i);
    float value;
    bfloat16ToFloat(&raw, &value, 1);
    return value;
  }
  default:
    return double(loadInt(dtype, bytes, i));
  }
}

void storeFloat(DType dtype, uint8_t *bytes, int64_t i, double value) {
  switch (dtype) {
  case DType::F64:
    return store(bytes, i, value);
  case DType::F32:
    return store(bytes, i, float(value));
  case DType::F16:
    return store(bytes, i, floatToHalf(float(value)));
  case DType::BF16: {
    return store(bytes, i, floatToBfloat16(float(value)));
  }
  case DType::Bool:
    bytes[i] = value != 0;
    return;
  default: {
    // Towards zero; what does not fit saturates at the type's bounds, NaN becomes 0.
    unsigned width = bitWidth(dtype);
    double lowest = isUnsigned(dtype) ? 0 : -std::ldexp(1.0, int(width) - 1);
    double limit = std::ldexp(1.0, int(isUnsigned(dtype) ? width : width - 1));
    if (std::isnan(value))
      return storeInt(dtype, bytes, i, 0);
    if (value < lowest)
      return storeInt(dtype, bytes, i, int64_t(lowest));
    if (value >= limit)
      return storeInt(dtype, bytes, i,
                      dtype == DType::U64
                          ? -1
                          : int64_t((uint64_t(1) << (isUnsigned(dtype) ? width : width - 1)) - 1));
    return storeInt(dtype, bytes, i,
                    dtype == DType::U64 ? int64_t(uint64_t(value)) : int64_t(value));
  }
  }
}

// ---- Arrays
// -----------------------------------------------------------------------------------------

void toFloats(DType dtype, const uint8_t *in, float *out, int64_t count) {
  if (count == 0) // no memory to copy from
    return;
  if (dtype == DType::F32)
    std::memcpy(out, in, count * sizeof(float));
  else if (dtype == DType::F16)
    halfToFloat(reinterpret_cast<const uint16_t *>(in), out, count);
  else if (dtype == DType::BF16)
    bfloat16ToFloat(reinterpret_cast<const uint16_t *>(in), out, count);
  else
    for (int64_t i = 0; i < count; ++i)
      out[i] = float(loadFloat(dtype, in, i));
}

size_t fromFloats(DType dtype, const float *in, uint8_t *out, int64_t count) {
  if (dtype == DType::F16)
    return floatToHalf(in, reinterpret_cast<uint16_t *>(out), count);
  if (dtype == DType::F32)
    std::memcpy(out, in, count * sizeof(float));
  else if (dtype == DType::BF16)
    for (int64_t i = 0; i < count; ++i)
      store(out, i, floatToBfloat16(in[i]));
  else
    for (int64_t i = 0; i < count; ++i)
      storeFloat(dtype, out, i, in[i]);
  return 0;
}

size_t convert(DType from, const uint8_t *in, DType to, uint8_t *out, int64_t count) {
  auto fits32 = [](DType d) { return d == DType::F32 || d == DType::F16 || d == DType::BF16; };
  if (from == DType::F32 && to == DType::F16)
    return floatToHalf(reinterpret_cast<const float *>(in), reinterpret_cast<uint16_t *>(out),
                       count);
  if (to == DType::F16 || (fits32(from) && fits32(to))) {
    std::vector<float> buffer(count);
    toFloats(from, in, buffer.data(), count);
    return fromFloats(to, buffer.data(), out, count);
  }
  if (isFloat(from) || isFloat(to)) {
    for (int64_t i = 0; i < count; ++i)
      storeFloat(to, out, i, loadFloat(from, in, i));
  } else {
    for (int64_t i = 0; i < count; ++i)
      storeInt(to, out, i, loadInt(from, in, i));
  }
  return 0;
}

/// Copies `count` elements of `width` bytes, `step` elements apart.
template <typename T> void gatherRun(const uint8_t *in, int64_t step, int64_t count, uint8_t *out) {
  const T *source = reinterpret_cast<const T *>(in);
  T *target = reinterpret_cast<T *>(out);
  for (int64_t i = 0; i < count; ++i)
    target[i] = source[i * step];
}

/// Rows of a matrix whose columns lie contiguous: in squares, so that each cache line is used
/// whole.
template <typename T>
void gatherTransposed(const uint8_t *in, int64_t columnStep, int64_t rows, int64_t columns,
                      uint8_t *out) {
  const T *source = reinterpret_cast<const T *>(in);
  T *target = reinterpret_cast<T *>(out);
  constexpr int64_t side = 32;
  for (int64_t r = 0; r < rows; r += side)
    for (int64_t c = 0; c < columns; c += side)
      for (int64_t i = r, rowEnd = std::min(r + side, rows); i < rowEnd; ++i)
        for (int64_t j = c, columnEnd = std::min(c + side, columns); j < columnEnd; ++j)
          target[i * columns + j] = source[i + j * columnStep];
}

void readStrided(const Node &node, int64_t begin, int64_t count, uint8_t *out) {
  const uint8_t *base = node.storage->bytes.data() + node.byteOffset;
  if (isSubByte(node.dtype)) {
    unsigned width = bitWidth(node.dtype);
    bool splat =
        llvm::all_of(node.strides, [](int64_t s) { return s == 0; }) && !node.shape.empty();
    uint64_t firstBit = uint64_t(begin) * width;
    if (firstBit % 8 == 0 && !splat) {
      // Packed alike; the unused bits of the last byte become zero.
      uint64_t size = byteSize(node.dtype, count), used = uint64_t(count) * width % 8;
      std::memcpy(out, base + firstBit / 8, size);
      if (used != 0)
        out[size - 1] &= uint8_t((1u << used) - 1);
      return;
    }
    std::memset(out, 0, byteSize(node.dtype, count));
    for (int64_t i = 0; i < count; ++i)
      packBits(out, i, width, unpackBits(base, splat ? 0 : begin + i, width));
    return;
  }
  int64_t width = bitWidth(node.dtype) / 8;
  size_t rank = node.shape.size();
  if (rank == 0) {
    std::memcpy(out, base, width);
    return;
  }
  if (rank == 2 && node.strides[0] == 1 && node.strides[1] > 1 && node.shape[1] > 1 && width != 8) {
    int64_t columns = node.shape[1], head = (columns - begin % columns) % columns;
    int64_t rows = (count - head) / columns;
    if (rows >= 2) {
      readStrided(node, begin, head, out);
      begin += head;
      out += head * width;
      const uint8_t *first = base + begin / columns * width;
      if (width == 4)
        gatherTransposed<uint32_t>(first, node.strides[1], rows, columns, out);
      else if (width == 2)
        gatherTransposed<uint16_t>(first, node.strides[1], rows, columns, out);
      else
        gatherTransposed<uint8_t>(first, node.strides[1], rows, columns, out);
      begin += rows * columns;
      out += rows * columns * width;
      count -= head + rows * columns;
      if (count == 0)
        return;
    }
  }
  // The position of element `begin`, then runs along the last axis.
  llvm::SmallVector<int64_t, 6> index(rank);
  int64_t rest = begin, offset = 0;
  for (size_t i = rank; i-- > 0;) {
    index[i] = rest % node.shape[i];
    rest /= node.shape[i];
    offset += index[i] * node.strides[i];
  }
  int64_t step = node.strides[rank - 1];
  while (count > 0) {
    int64_t run = std::min(count, node.shape[rank - 1] - index[rank - 1]);
    const uint8_t *source = base + offset * width;
    if (step == 1)
      std::memcpy(out, source, run * width);
    else if (width == 4)
      gatherRun<uint32_t>(source, step, run, out);
    else if (width == 2)
      gatherRun<uint16_t>(source, step, run, out);
    else if (width == 1)
      gatherRun<uint8_t>(source, step, run, out);
    else
      gatherRun<uint64_t>(source, step, run, out);
    out += run * width;
    count -= run;
    offset += run * step;
    index[rank - 1] += run;
    for (size_t i = rank; i-- > 0 && index[i] == node.shape[i];) {
      offset -= index[i] * node.strides[i];
      index[i] = 0;
      if (i == 0)
        break;
      ++index[i - 1];
      offset += node.strides[i - 1];
    }
  }
}

size_t readLoraMerge(const Node &node, int64_t begin, int64_t count, uint8_t *out) {
  const TensorData &w = node.inputs[0], &b = node.inputs[1], &a = node.inputs[2];
  int64_t columns = node.shape[1], rank = a.shape()[0];
  float factor = float(node.factor);
  std::vector<float> aValues, bRow(rank), row(columns), delta(columns);
  const auto *aRows = reinterpret_cast<const float *>(a.contiguousBytes().data());
  if (a.dtype() != DType::F32 || !aRows || reinterpret_cast<uintptr_t>(aRows) % alignof(float)) {
    aValues.resize(rank * columns);
    readFloats(a, 0, rank * columns, aValues.data());
    aRows = aValues.data();
  }
  int64_t width = bitWidth(node.dtype) / 8;
  size_t overflowed = 0;
  while (count > 0) {
    int64_t line = begin / columns, first = begin % columns;
    int64_t run = std::min(count, columns - first);
    readFloats(b, line * rank, rank, bRow.data());
    overflowed += readFloats(w, begin, run, row.data());
    std::fill_n(delta.begin(), run, 0.0f);
    for (int64_t r = 0; r < rank; ++r)
      addScaled(delta.data(), aRows + r * columns + first, bRow[r], run);
    addScaled(row.data(), delta.data(), factor, run);
    overflowed += fromFloats(node.dtype, row.data(), out, run);
    out += run * width;
    begin += run;
    count -= run;
  }
  return overflowed;
}

/// Random access into what permutation cannot be pushed through: the input is read whole, once a
/// tile.
size_t readPermute(const Node &node, int64_t begin, int64_t count, uint8_t *out) {
  const TensorData &input = node.inputs[0];
  std::vector<uint8_t> whole(input.byteSize());
  size_t overflowed = readNode(input.node(), 0, input.numElements(), whole.data());
  TensorData permuted = TensorData::fromBytes(input.dtype(), input.shape(), std::move(whole));
  if (isSubByte(node.dtype)) {
    unsigned width = bitWidth(node.dtype);
    const uint8_t *bytes = permuted.contiguousBytes().data();
    llvm::SmallVector<int64_t, 6> strides(node.shape.size());
    int64_t step = 1;
    for (size_t i = node.shape.size(); i-- > 0; step *= input.shape()[i])
      strides[i] = step;
    for (int64_t n = 0; n < count; ++n) {
      int64_t rest = begin + n, offset = 0;
      for (size_t i = node.shape.size(); i-- > 0; rest /= node.shape[i])
        offset += rest % node.shape[i] * strides[node.perm[i]];
      packBits(out, n, width, unpackBits(bytes, offset, width));
    }
    return overflowed;
  }
  readNode(permuted.permute(node.perm).node(), begin, count, out);
  return overflowed;
}

} // namespace

size_t readFloats(const TensorData &tensor, int64_t begin, int64_t count, float *out) {
  if (tensor.dtype() == DType::F32)
    return readNode(tensor.node(), begin, count, reinterpret_cast<uint8_t *>(out));
  std::vector<uint8_t> raw(byteSize(tensor.dtype(), count));
  size_t overflowed = readNode(tensor.node(), begin, count, raw.data());
  toFloats(tensor.dtype(), raw.data(), out, count);
  return overflowed;
}

size_t readNode(const Node &node, int64_t begin, int64_t count, uint8_t *out) {
  if (count == 0)
    return 0;
  switch (node.kind) {
  case Kind::Strided:
    readStrided(node, begin, count, out);
    return 0;
  case Kind::Reshape:
    return readNode(node.inputs[0].node(), begin, count, out);
  case Kind::Permute:
    return readPermute(node, begin, count, out);
  case Kind::LoraMerge:
    return readLoraMerge(node, begin, count, out);
  case Kind::Cast: {
    const TensorData &input = node.inputs[0];
    // A contiguous view is converted where it lies.
    if (llvm::ArrayRef<uint8_t> bytes = input.contiguousBytes();
        !bytes.empty() && !isSubByte(input.dtype()) && !isSubByte(node.dtype))
      return convert(input.dtype(), bytes.data() + byteSize(input.dtype(), begin), node.dtype, out,
                     count);
    int64_t chunk = input.kind() == Kind::Strided ? kGatherChunk : kChunk;
    std::vector<uint8_t> raw(byteSize(input.dtype(), std::min(count, chunk)));
    size_t overflowed = 0;
    for (int64_t done = 0; done < count; done += chunk) {
      int64_t n = std::min(chunk, count - done);
      overflowed += readNode(input.node(), begin + done, n, raw.data());
      overflowed +=
          convert(input.dtype(), raw.data(), node.dtype, out + byteSize(node.dtype, done), n);
    }
    return overflowed;
  }
  case Kind::Scale: {
    const TensorData &input = node.inputs[0];
    if (node.dtype == DType::F64) {
      readNode(input.node(), begin, count, out);
      for (int64_t i = 0; i < count; ++i)
        store(out, i, load<double>(out, i) * node.factor);
      return 0;
    }
    float factor = float(node.factor);
    std::vector<float> values(std::min(count, kChunk));
    size_t overflowed = 0;
    for (int64_t done = 0; done < count; done += kChunk) {
      int64_t n = std::min(kChunk, count - done);
      overflowed += readFloats(input, begin + done, n, values.data());
      for (int64_t i = 0; i < n; ++i)
        values[i] *= factor;
      overflowed += fromFloats(node.dtype, values.data(), out + byteSize(node.dtype, done), n);
    }
    return overflowed;
  }
  case Kind::Computed:
    return readComputed(node, begin, count, out);
  }
  return 0;
}

// ---- Computed constants -------------------------------------------------------------------------

namespace {

using Prepared = llvm::DenseMap<const Node *, TensorData>;
Expected<TensorData> prepare(const TensorData &tensor, Evaluator *evaluator, Prepared &done);

Expected<Attr> prepare(const Attr &attr, Evaluator *evaluator, Prepared &done) {
  if (const TensorData *tensor = attr.tensor()) {
    auto value = prepare(*tensor, evaluator, done);
    if (!value)
      return value.takeError();
    return Attr(*value);
  }
  return attr;
}

Expected<TensorData> prepare(const TensorData &tensor, Evaluator *evaluator, Prepared &done) {
  const Node &node = tensor.node();
  if (node.kind == Kind::Strided)
    return tensor;
  if (auto it = done.find(&node); it != done.end())
    return it->second;
  TensorData result = tensor;
  if (node.kind == Kind::Computed) {
    std::vector<std::vector<Attr>> operands;
    for (const auto &operand : node.operands) {
      operands.emplace_back();
      for (const Attr &attr : operand) {
        auto value = prepare(attr, evaluator, done);
        if (!value)
          return value.takeError();
        operands.back().push_back(std::move(*value));
      }
    }
    if (auto tree = streamed(node, operands)) {
      done[&node] = *tree;
      return *tree;
    }
    if (!evaluator)
      return makeError(Code::Internal,
                       "a constant is computed by '{0}', and nothing here evaluates operations",
                       name(node.op));
    auto results = evaluator->evaluate(node.op, operands, {tensor.type()});
    if (!results)
      return results.takeError();
    result = results->at(node.index);
  } else {
    llvm::SmallVector<TensorData, 3> inputs;
    bool changed = false;
    for (const TensorData &input : node.inputs) {
      auto value = prepare(input, evaluator, done);
      if (!value)
        return value.takeError();
      changed |= &value->node() != &input.node();
      inputs.push_back(std::move(*value));
    }
    if (node.kind == Kind::LoraMerge) {
      // Every tile takes all of A.
      inputs[2] = held(inputs[2].cast(DType::F32));
      changed |= &inputs[2].node() != &node.inputs[2].node();
    }
    if (changed) {
      switch (node.kind) {
      case Kind::Cast:
        result = inputs[0].cast(node.dtype);
        break;
      case Kind::Reshape:
        result = inputs[0].reshape(node.shape);
        break;
      case Kind::Permute:
        result = permuteStreamed(inputs[0], node.perm);
        break;
      case Kind::Scale:
        result = inputs[0].scale(node.factor);
        break;
      default:
        result = inputs[0].loraMerge(inputs[1], inputs[2], node.factor);
      }
    }
  }
  done[&node] = result;
  return result;
}

} // namespace

Expected<TensorReader> TensorReader::create(const TensorData &tensor, Evaluator *evaluator) {
  Prepared done;
  auto ready = prepare(tensor, evaluator, done);
  if (!ready)
    return ready.takeError();
  return TensorReader(std::move(*ready));
}

void TensorReader::read(int64_t begin, int64_t count, uint8_t *out) const {
  assert(begin >= 0 && begin + count <= tensor_.numElements());
  assert(!isSubByte(tensor_.dtype()) || begin % 8 == 0);
  readNode(tensor_.node(), begin, count, out);
}

/// The tree as fp32, before what made fp16 of it.
static TensorData widened(const TensorData &tensor) {
  const Node &node = tensor.node();
  if (tensor.dtype() != DType::F16)
    return tensor.cast(DType::F32);
  switch (node.kind) {
  case Kind::Cast:
    return node.inputs[0].cast(DType::F32);
  case Kind::Reshape:
    return widened(node.inputs[0]).reshape(node.shape);
  case Kind::Permute:
    return widened(node.inputs[0]).permute(node.perm);
  case Kind::Scale:
    return widened(node.inputs[0]).scale(node.factor);
  case Kind::LoraMerge:
    return widened(node.inputs[0]).loraMerge(node.inputs[1], node.inputs[2], node.factor);
  default:
    break;
  }
  auto whole = concatenationOf(node);
  if (!whole)
    return tensor.cast(DType::F32);
  llvm::SmallVector<TensorData, 4> parts;
  for (const TensorData *part : whole->parts)
    parts.push_back(widened(*part));
  return Concatenation::make(parts, whole->axis);
}

void readSaturated(const TensorReader &reader, int64_t begin, int64_t count, uint8_t *out,
                   Saturation &saturation) {
  assert(begin >= 0 && begin + count <= reader.tensor().numElements());
  DType dtype = reader.tensor().dtype();
  if (readNode(reader.tensor().node(), begin, count, out) != 0 && dtype == DType::F16) {
    std::vector<float> wide(count);
    readFloats(widened(reader.tensor()), begin, count, wide.data());
    constexpr uint16_t infinity = 0x7C00, largest = 0x7BFF;
    for (int64_t i = 0; i < count; ++i) {
      uint16_t bits = load<uint16_t>(out, i);
      if ((bits & 0x7FFF) != infinity || !std::isfinite(wide[i]))
        continue;
      store(out, i, uint16_t((bits & 0x8000) | largest));
      ++saturation.count;
      saturation.largest = std::max(saturation.largest, std::abs(wide[i]));
    }
  }
  if (countNonFinite(dtype, out, count, saturation) || dtype != DType::F16)
    return;
  std::vector<float> wide(count);
  readFloats(widened(reader.tensor()), begin, count, wide.data());
  saturation.zeros += uint64_t(count);
  for (float value : wide) {
    saturation.vanished += value != 0;
    saturation.largestVanished = std::max(saturation.largestVanished, std::abs(value));
  }
}

static void releaseNode(const TensorData &tensor, int64_t begin, int64_t count) {
  const Node &node = tensor.node();
  switch (node.kind) {
  case Kind::Cast:
  case Kind::Scale:
  case Kind::Reshape:
  case Kind::LoraMerge:
    return releaseNode(node.inputs[0], begin, count);
  case Kind::Computed:
    if (auto whole = concatenationOf(node))
      whole->forEachRun(node.shape, begin, count,
                        [&](const TensorData &part, int64_t from, int64_t, int64_t run) {
                          releaseNode(part, from, run);
                        });
    else if (node.op != OpKind::matmul)
      for (const std::vector<Attr> &operand : node.operands)
        releaseNode(*operand[0].tensor(), begin, count);
    return;
  case Kind::Permute:
    return;
  case Kind::Strided:
    break;
  }
  if (!node.storage->release || node.shape.empty())
    return;
  if (!tensor.contiguousBytes().empty()) {
    node.storage->release(node.byteOffset + byteSize(node.dtype, begin),
                          byteSize(node.dtype, count));
  } else if (begin + count == tensor.numElements() && count > 0) {
    // Gathered from all over its extent, so that goes once the last element is read.
    int64_t last = 0;
    for (auto [size, stride] : llvm::zip(node.shape, node.strides))
      last += (size - 1) * stride;
    node.storage->release(node.byteOffset, byteSize(node.dtype, last + 1));
  }
}

void TensorReader::release(int64_t begin, int64_t count) const {
  releaseNode(tensor_, begin, count);
}

// ---- Whole tensors
// ----------------------------------------------------------------------------------

Expected<std::vector<uint8_t>> TensorData::bytes(Evaluator *evaluator) const {
  auto reader = TensorReader::create(*this, evaluator);
  if (!reader)
    return reader.takeError();
  std::vector<uint8_t> out(byteSize());
  reader->read(0, numElements(), out.data());
  return out;
}

Expected<llvm::SmallVector<int64_t, 8>> TensorData::intValues(Evaluator *evaluator) const {
  auto raw = bytes(evaluator);
  if (!raw)
    return raw.takeError();
  llvm::SmallVector<int64_t, 8> values(numElements());
  for (int64_t i = 0, count = values.size(); i < count; ++i)
    values[i] = isFloat(dtype()) ? int64_t(loadFloat(dtype(), raw->data(), i))
                                 : loadInt(dtype(), raw->data(), i);
  return values;
}

Expected<std::vector<double>> TensorData::floatValues(Evaluator *evaluator) const {
  auto raw = bytes(evaluator);
  if (!raw)
    return raw.takeError();
  int64_t count = numElements();
  if (dtype() == DType::F64 || !isFloat(dtype())) {
    std::vector<double> values(count);
    for (int64_t i = 0; i < count; ++i)
      values[i] = loadFloat(dtype(), raw->data(), i);
    return values;
  }
  llvm::SmallVector<float, 0> single; // which fp16 and bf16 fit, many at a time
  single.resize_for_overwrite(count);
  toFloats(dtype(), raw->data(), single.data(), count);
  return std::vector<double>(single.begin(), single.end());
}

} // namespace plait::mil
