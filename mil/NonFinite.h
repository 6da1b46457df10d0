// What is no finite number among a tensor's bytes, and whether anything is not zero: one look at a
// tile that was read. Private to mil.
#pragma once

#include "mil/SaturatedRead.h"

#include <cstring>

namespace plait::mil {

/// Counts what is no finite number among `count` elements whose bits `Bits` holds, and says whether
/// there is anything but zeros. The first loop is for all but a few tiles.
template <typename Bits, Bits infinity>
bool countNonFinite(const uint8_t *bytes, int64_t count, Saturation &saturation) {
  constexpr Bits magnitude = Bits(~Bits(0)) >> 1;
  auto at = [&](int64_t i) {
    Bits bits;
    std::memcpy(&bits, bytes + i * int64_t(sizeof bits), sizeof bits);
    return bits;
  };
  int64_t found = 0;
  Bits any = 0;
  for (int64_t i = 0; i < count; ++i) {
    Bits bits = at(i);
    found += (bits & infinity) == infinity;
    any |= bits;
  }
  if (!found)
    return any & magnitude;
  for (int64_t i = 0; i < count; ++i) {
    Bits bits = at(i) & magnitude;
    saturation.infinite += bits == infinity;
    saturation.nan += bits > infinity;
  }
  return true;
}

/// The same by element type: floating-point numbers of 16 and 32 bits; nothing is said of others.
inline bool countNonFinite(DType dtype, const uint8_t *bytes, int64_t count,
                           Saturation &saturation) {
  if (dtype == DType::F16)
    return countNonFinite<uint16_t, 0x7C00>(bytes, count, saturation);
  if (dtype == DType::BF16)
    return countNonFinite<uint16_t, 0x7F80>(bytes, count, saturation);
  if (dtype == DType::F32)
    return countNonFinite<uint32_t, 0x7F800000>(bytes, count, saturation);
  return true;
}

} // namespace plait::mil
