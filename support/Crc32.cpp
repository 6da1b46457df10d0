// The checksum is libdeflate's, which uses the processor's carry-less multiplication. Joining is a
// multiplication: a CRC is a polynomial over bits modulo P, and n zero bytes behind it multiply it
// by x^(8n).
#include "support/Crc32.h"

#include <libdeflate.h>

namespace plait {

uint32_t crc32(llvm::ArrayRef<uint8_t> bytes) {
  return libdeflate_crc32(0, bytes.data(), bytes.size());
}

/// a b modulo P; the lowest power is in the highest bit.
static uint32_t multiply(uint32_t a, uint32_t b) {
  constexpr uint32_t polynomial = 0xEDB88320;
  uint32_t product = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    if (a & bit)
      product ^= b;
    b = b & 1 ? b >> 1 ^ polynomial : b >> 1;
  }
  return product;
}

uint32_t joinCrc32(uint32_t first, uint32_t second, uint64_t secondSize) {
  uint32_t factor = 1u << 31, square = 1u << 23; // 1, x^8
  for (uint64_t n = secondSize; n != 0; n >>= 1) {
    if (n & 1)
      factor = multiply(square, factor);
    square = multiply(square, square);
  }
  return multiply(factor, first) ^ second;
}

} // namespace plait
