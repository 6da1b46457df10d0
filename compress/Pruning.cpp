// Selecting by digits, and sorting within small groups.
#include "compress/Pruning.h"

#include "compress/Wide.h"

#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace plait::compress {

void PruneCounter::add(llvm::ArrayRef<uint32_t> magnitudes, std::optional<uint32_t> upper) {
  if (!upper)
    for (uint32_t magnitude : magnitudes)
      ++counts_[magnitude >> 16];
  else
    for (uint32_t magnitude : magnitudes)
      if (magnitude >> 16 == *upper)
        ++counts_[magnitude & 0xFFFF];
}

void PruneLimit::mark(llvm::ArrayRef<uint32_t> magnitudes, uint8_t *keep) {
  constexpr size_t piece = 256;
  for (size_t begin = 0; begin < magnitudes.size(); begin += piece) {
    llvm::ArrayRef<uint32_t> part =
        magnitudes.slice(begin, std::min(piece, magnitudes.size() - begin));
    uint32_t same = wide([&]() PLAIT_WIDE {
      uint32_t found = 0;
      for (size_t i = 0; i < part.size(); ++i) {
        keep[begin + i] = part[i] >= magnitude;
        found += part[i] == magnitude;
      }
      return found;
    });
    for (size_t i = 0; same > 0 && equal > 0; ++i)
      if (part[i] == magnitude) {
        keep[begin + i] = 0;
        --equal;
        --same;
      }
  }
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

/// Marks the `gone` smallest of `size` numbers with 0.
static void pruneGroup(const float *values, int64_t size, int64_t step, int64_t gone,
                       uint8_t *keep) {
  for (int64_t i = 0; i < size; ++i)
    keep[i * step] = 1;
  if (size <= 16) { // the smallest one that is left, and again
    for (; gone > 0; --gone) {
      int64_t at = 0;
      float least = std::numeric_limits<float>::infinity();
      for (int64_t i = 0; i < size; ++i) {
        float magnitude = std::fabs(values[i * step]);
        bool lower = keep[i * step] & (magnitude < least);
        at = lower ? i : at;
        least = lower ? magnitude : least;
      }
      keep[at * step] = 0;
    }
    return;
  }
  std::vector<std::pair<float, int64_t>> order;
  for (int64_t i = 0; i < size; ++i)
    order.push_back({std::fabs(values[i * step]), i});
  std::nth_element(order.begin(), order.begin() + gone, order.end());
  for (int64_t i = 0; i < gone; ++i)
    keep[order[size_t(i)].second * step] = 0;
}

void pruneRun(const float *values, int64_t count, int64_t step, unsigned zeros, unsigned of,
              uint8_t *keep) {
  for (int64_t begin = 0; begin < count; begin += of) {
    int64_t size = std::min<int64_t>(of, count - begin);
    pruneGroup(values + begin * step, size, step, int64_t(zeros) * size / of, keep + begin * step);
  }
}

} // namespace plait::compress
