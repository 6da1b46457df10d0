// How often each number occurs among fp16 or fp32 ones: what a palette is chosen from. Its size
// does not depend on how many there are.
//
// fp32 numbers are counted as halves, after a power of two has brought the largest close to the
// largest half: a step is 2^-11 of the number, far finer than the distance of two entries.
#pragma once

#include "compress/KMeans.h"

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <vector>

namespace plait::compress {

class Histogram {
public:
  static constexpr unsigned kBins = 65536;

  Histogram() : counts_(kBins) {}

  /// The power of two for fp32 numbers of this magnitude.
  static double scaleFor(double largest);

  /// Adds each bin's number of `weight`, or 1 where there are no weights.
  void add(llvm::ArrayRef<uint16_t> bins, llvm::ArrayRef<uint32_t> weights = {});
  void add(const Histogram &other);
  void clear();
  /// What was counted, in ascending order; numbers are divided by `scale`.
  void points(std::vector<WeightedValue> &out, double scale = 1) const;
  /// For the bin of each point the nearest entry of an ascending palette.
  void assign(llvm::ArrayRef<float> palette, double scale, uint8_t *codeOfBin) const;

private:
  std::vector<uint64_t> counts_;
};

/// The bin of each half: bins ascend with the numbers, and both zeros have one.
void binsOfHalves(llvm::ArrayRef<uint16_t> halves, uint16_t *bins);
/// The same of fp32 numbers times `scale`.
void binsOfFloats(llvm::ArrayRef<float> values, double scale, uint16_t *bins);
/// The number that a bin stands for.
float valueOfBin(uint16_t bin);

} // namespace plait::compress
