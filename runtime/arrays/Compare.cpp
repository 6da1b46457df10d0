// Comparing tensors, a chunk at a time.
#include "runtime/arrays/Compare.h"

#include <cmath>
#include <limits>

namespace plait::runtime {

using mil::DType;
using mil::TensorData;

/// Elements [begin, begin + count) as fp64; int64 beyond 2^53 rounds.
static Error readDoubles(const mil::TensorReader &reader, int64_t begin, int64_t count,
                         std::vector<uint8_t> &raw, std::vector<double> &values) {
  DType dtype = reader.tensor().dtype();
  raw.resize(mil::byteSize(dtype, count));
  reader.read(begin, count, raw.data());
  auto chunk = TensorData::fromBytes(dtype, {count}, raw).floatValues();
  if (!chunk)
    return chunk.takeError();
  values = std::move(*chunk);
  return Error::success();
}

Expected<Comparison> compare(const TensorData &actual, const TensorData &reference) {
  if (actual.shape() != reference.shape())
    return makeError(Code::NotComparable, "shapes differ: {0} and {1}", actual.type().str(),
                     reference.type().str());
  auto a = mil::TensorReader::create(actual, nullptr);
  if (!a)
    return a.takeError();
  auto r = mil::TensorReader::create(reference, nullptr);
  if (!r)
    return r.takeError();

  Comparison result;
  result.elements = actual.numElements();
  double signal = 0, noise = 0, dot = 0, norm = 0;
  constexpr int64_t kChunk = 1 << 16; // a multiple of 8, as sub-byte types need
  std::vector<uint8_t> raw;
  std::vector<double> x, y;
  for (int64_t begin = 0; begin < result.elements; begin += kChunk) {
    int64_t count = std::min(kChunk, result.elements - begin);
    if (Error error = readDoubles(*a, begin, count, raw, x))
      return error;
    if (Error error = readDoubles(*r, begin, count, raw, y))
      return error;
    for (int64_t i = 0; i < count; ++i) {
      if (!std::isfinite(x[i]) || !std::isfinite(y[i])) {
        bool same = (std::isnan(x[i]) && std::isnan(y[i])) || x[i] == y[i];
        if (!same && result.nonFinite++ == 0)
          result.worst = begin + i;
        continue;
      }
      double error = std::abs(x[i] - y[i]), size = std::abs(y[i]);
      if (result.nonFinite == 0 && (error > result.maxAbsolute || result.worst < 0))
        result.worst = begin + i;
      result.maxAbsolute = std::max(result.maxAbsolute, error);
      if (size > 0)
        result.maxRelative = std::max(result.maxRelative, error / size);
      result.peak = std::max(result.peak, size);
      signal += y[i] * y[i];
      noise += error * error;
      dot += x[i] * y[i];
      norm += x[i] * x[i];
    }
  }
  if (result.elements > 0) {
    result.rmsError = std::sqrt(noise / double(result.elements));
    result.rmsReference = std::sqrt(signal / double(result.elements));
  }
  result.snr = noise == 0    ? std::numeric_limits<double>::infinity()
               : signal == 0 ? -std::numeric_limits<double>::infinity()
                             : 10 * std::log10(signal / noise);
  if (signal > 0 && norm > 0)
    result.cosine = dot / std::sqrt(signal) / std::sqrt(norm);
  else
    result.cosine = signal == norm ? 1 : 0;
  return result;
}

std::string describe(const Comparison &c) {
  if (c.nonFinite && c.nonFinite == c.elements) // there is nothing to measure
    return fmt::format("all {0} elements NaN or infinite on one side", c.elements);
  std::string text =
      fmt::format("max abs {0:.2e}, max rel {1:.2e}, SNR ", c.maxAbsolute, c.maxRelative);
  text += std::isinf(c.snr) ? (c.snr > 0 ? "inf" : "-inf") : fmt::format("{0:.1f}", c.snr);
  text += fmt::format(" dB, cosine {0:.6f}", c.cosine);
  if (c.nonFinite)
    text +=
        fmt::format(", {0} of {1} elements NaN or infinite on one side", c.nonFinite, c.elements);
  return text;
}

} // namespace plait::runtime
