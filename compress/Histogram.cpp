// Bins of halves and their counts.
#include "compress/Histogram.h"

#include "support/Half.h"

#include <algorithm>
#include <cmath>

namespace plait::compress {

static uint16_t binOf(uint16_t half) {
  if (half == 0x8000)
    half = 0;
  return half & 0x8000 ? uint16_t(~half) : uint16_t(half | 0x8000);
}

float valueOfBin(uint16_t bin) {
  return halfToFloat(bin & 0x8000 ? uint16_t(bin & 0x7FFF) : uint16_t(~bin));
}

void binsOfHalves(llvm::ArrayRef<uint16_t> halves, uint16_t *bins) {
  for (size_t i = 0; i < halves.size(); ++i)
    bins[i] = binOf(halves[i]);
}

void binsOfFloats(llvm::ArrayRef<float> values, double scale, uint16_t *bins) {
  for (size_t i = 0; i < values.size(); ++i)
    bins[i] = binOf(floatToHalf(float(values[i] * scale)));
}

double Histogram::scaleFor(double largest) {
  // In [2^14, 2^15): half of the largest half, so that nothing rounds to infinity.
  return largest > 0 ? std::ldexp(1, 14 - std::ilogb(largest)) : 1;
}

void Histogram::add(llvm::ArrayRef<uint16_t> bins, llvm::ArrayRef<uint32_t> weights) {
  if (weights.empty())
    for (uint16_t bin : bins)
      ++counts_[bin];
  else
    for (size_t i = 0; i < bins.size(); ++i)
      counts_[bins[i]] += weights[i];
}

void Histogram::add(const Histogram &other) {
  for (unsigned bin = 0; bin < kBins; ++bin)
    counts_[bin] += other.counts_[bin];
}

void Histogram::clear() { std::fill(counts_.begin(), counts_.end(), 0); }

void Histogram::points(std::vector<WeightedValue> &out, double scale) const {
  out.clear();
  for (unsigned bin = 0; bin < kBins; ++bin)
    if (counts_[bin])
      out.push_back({valueOfBin(uint16_t(bin)) / scale, double(counts_[bin])});
}

void Histogram::assign(llvm::ArrayRef<float> palette, double scale, uint8_t *codeOfBin) const {
  size_t code = 0;
  for (unsigned bin = 0; bin < kBins; ++bin) {
    if (!counts_[bin])
      continue;
    double value = valueOfBin(uint16_t(bin)) / scale;
    // Of two entries as near, the lower; equal entries have the code of the first.
    for (size_t next = code + 1; next < palette.size(); ++next) {
      if (palette[next] == palette[code])
        continue;
      if (std::fabs(palette[next] - value) >= std::fabs(palette[code] - value))
        break;
      code = next;
    }
    codeOfBin[bin] = uint8_t(code);
  }
}

} // namespace plait::compress
