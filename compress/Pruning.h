// Which numbers become zeros: the smallest ones, so that the squared error is least.
#pragma once

#include "compress/Scheme.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/bit.h"

#include <cstdint>
#include <vector>

namespace plait::compress {

/// The magnitude of a number as an integer that orders numbers alike: of an fp32, or of a half,
/// shifted up.
inline uint32_t magnitudeOf(float value) { return llvm::bit_cast<uint32_t>(value) & 0x7FFFFFFF; }
inline uint32_t magnitudeOfHalf(uint16_t half) { return uint32_t(half & 0x7FFF) << 16; }

/// A share of all numbers of a weight: the largest magnitude that goes, and how many of exactly
/// that magnitude go, the first ones.
struct PruneLimit {
  uint32_t magnitude = 0;
  int64_t equal = 0;

  /// Sets keep[i] to 0 or 1 for the next numbers, and takes those that go from `equal`.
  void mark(llvm::ArrayRef<uint32_t> magnitudes, uint8_t *keep);
};

/// Finds the limit from two looks at all numbers: at the upper halves of their magnitudes, then at
/// the lower ones of those that have the limit's upper half.
class PruneCounter {
public:
  PruneCounter() : counts_(65536) {}
  void add(llvm::ArrayRef<uint32_t> magnitudes, std::optional<uint32_t> upper);
  void add(const PruneCounter &other);
  void clear() { counts_.assign(65536, 0); }
  /// The digit that the `number`-th smallest one has; `number` becomes its place among those.
  uint32_t digitOf(int64_t &number) const;

private:
  std::vector<int64_t> counts_;
};

/// Of every `of` numbers of a run the `zeros` smallest ones, the first of equal ones; of a rest in
/// proportion. Sets keep[i] to 0 or 1; numbers lie `step` apart.
void pruneRun(const float *values, int64_t count, int64_t step, unsigned zeros, unsigned of,
              uint8_t *keep);

} // namespace plait::compress
