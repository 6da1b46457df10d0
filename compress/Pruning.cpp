// Selecting by digits, and sorting within small groups.
#include "compress/Pruning.h"

#include "support/Half.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/bit.h"

#include <cmath>

namespace plait::compress {

uint32_t magnitudeOf(float value, bool half) {
  return half ? uint32_t(floatToHalf(value) & 0x7FFF) << 16
              : llvm::bit_cast<uint32_t>(value) & 0x7FFFFFFF;
}

void PruneCounter::add(llvm::ArrayRef<uint32_t> magnitudes, std::optional<uint32_t> upper) {
  for (uint32_t magnitude : magnitudes)
    if (!upper)
      ++counts_[magnitude >> 16];
    else if (magnitude >> 16 == *upper)
      ++counts_[magnitude & 0xFFFF];
}

void PruneCounter::add(const PruneCounter &other) {
  for (auto [count, more] : llvm::zip(counts_, other.counts_))
    count += more;
}

uint32_t PruneCounter::digitOf(int64_t &number) const {
  uint32_t digit = 0;
  for (; digit < 65535 && number > counts_[digit]; ++digit)
    number -= counts_[digit];
  return digit;
}

void pruneRun(const float *values, int64_t count, int64_t step, unsigned zeros, unsigned of,
              uint8_t *keep) {
  llvm::SmallVector<int64_t, 16> order;
  for (int64_t begin = 0; begin < count; begin += of) {
    int64_t size = std::min<int64_t>(of, count - begin);
    order.clear();
    for (int64_t i = 0; i < size; ++i)
      order.push_back(begin + i);
    llvm::stable_sort(order, [&](int64_t a, int64_t b) {
      return std::fabs(values[a * step]) < std::fabs(values[b * step]);
    });
    int64_t gone = int64_t(zeros) * size / of;
    for (auto [place, i] : llvm::enumerate(order))
      keep[i * step] = int64_t(place) >= gone;
  }
}

} // namespace plait::compress
