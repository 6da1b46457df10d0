// Reading constants for a weight file. A finite number beyond fp16 becomes the largest one of
// fp16. As an infinity it would turn a whole output into NaN.
#pragma once

#include "mil/TensorData.h"

#include <algorithm>

namespace plait::mil {

/// What became finite by force, what is no number, and what became zero.
struct Saturation {
  uint64_t count = 0;             ///< elements
  float largest = 0;              ///< the greatest magnitude among them
  uint64_t nan = 0, infinite = 0; ///< elements that stay so, of floating-point tensors
  uint64_t zeros = 0;             ///< of an fp16 tensor, in reads that gave zeros alone
  uint64_t vanished = 0;          ///< those of them that are no zeros before they are rounded
  float largestVanished = 0;      ///< the greatest magnitude among them

  explicit operator bool() const { return count || nan || infinite || zeros; }
  Saturation &operator+=(const Saturation &other) {
    count += other.count;
    largest = std::max(largest, other.largest);
    nan += other.nan;
    infinite += other.infinite;
    zeros += other.zeros;
    vanished += other.vanished;
    largestVanished = std::max(largestVanished, other.largestVanished);
    return *this;
  }
};

/// TensorReader::read, but elements of an fp16 tensor that are finite before they are rounded to
/// fp16 stay so: magnitudes of 65520 and above become 65504 and are added to `saturation`. NaN and
/// infinities are kept, and counted, and so is what becomes zero where everything does. Costs a
/// look at the bytes where no element overflows.
void readSaturated(const TensorReader &reader, int64_t begin, int64_t count, uint8_t *out,
                   Saturation &saturation);

} // namespace plait::mil
