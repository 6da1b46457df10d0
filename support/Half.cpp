// Half-precision conversions. The vector functions carry their own target attribute and are chosen
// at run time, so the rest of the program needs no special compiler flags.
#include "support/Half.h"
#include "llvm/ADT/bit.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace plait {

namespace {

constexpr uint32_t infinityBits = 0x7F800000;
/// 65520: the smallest magnitude that rounds to infinity in fp16.
constexpr uint32_t overflowBits = 0x477FF000;

uint16_t halfFromBits(uint32_t bits) {
  uint32_t sign = (bits >> 16) & 0x8000;
  uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > infinityBits)
    return sign | 0x7E00 | ((magnitude >> 13) & 0x3FF);
  if (magnitude >= overflowBits)
    return sign | 0x7C00;
  if (magnitude >=
      0x38800000) { // 2^-14, the smallest normal fp16: re-bias the exponent, round at bit 13.
    uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
    return sign | ((rounded - 0x38000000) >> 13);
  }
  if (magnitude <= 0x33000000) // 2^-25 is half of the smallest subnormal and ties to zero.
    return sign;
  uint32_t shift = 126 - (magnitude >> 23);
  uint32_t mantissa = (magnitude & 0x7FFFFF) | 0x800000;
  uint32_t quotient = mantissa >> shift;
  uint32_t rest = mantissa & ((1u << shift) - 1);
  uint32_t tie = 1u << (shift - 1);
  if (rest > tie || (rest == tie && (quotient & 1)))
    ++quotient;
  return sign | quotient;
}

uint32_t floatBitsFromHalf(uint16_t half) {
  uint32_t sign = uint32_t(half & 0x8000) << 16;
  uint32_t exponent = (half >> 10) & 0x1F;
  uint32_t mantissa = half & 0x3FF;
  if (exponent == 0x1F)
    return sign | infinityBits | (mantissa ? 0x400000 | (mantissa << 13) : 0);
  if (exponent != 0)
    return sign | ((exponent + 112) << 23) | (mantissa << 13);
  if (mantissa == 0)
    return sign;
  int top = 31 - llvm::countl_zero(mantissa); // A subnormal: the leading one becomes implicit.
  return sign | (uint32_t(top + 103) << 23) | ((mantissa << (23 - top)) & 0x7FFFFF);
}

bool overflows(uint32_t bits) {
  uint32_t magnitude = bits & 0x7FFFFFFF;
  return magnitude >= overflowBits && magnitude < infinityBits;
}

} // namespace

size_t portable::floatToHalf(const float *in, uint16_t *out, size_t count) {
  size_t overflowed = 0;
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits = llvm::bit_cast<uint32_t>(in[i]);
    overflowed += overflows(bits);
    out[i] = halfFromBits(bits);
  }
  return overflowed;
}

void portable::halfToFloat(const uint16_t *in, float *out, size_t count) {
  for (size_t i = 0; i < count; ++i)
    out[i] = llvm::bit_cast<float>(floatBitsFromHalf(in[i]));
}

#if defined(__x86_64__)

namespace {

__attribute__((target("avx,avx2,f16c"))) size_t vectorFloatToHalf(const float *in, uint16_t *out,
                                                                  size_t count) {
  const __m256i magnitudeMask = _mm256_set1_epi32(0x7FFFFFFF);
  const __m256i belowOverflow = _mm256_set1_epi32(overflowBits - 1);
  const __m256i infinity = _mm256_set1_epi32(infinityBits);
  size_t overflowed = 0, i = 0;
  for (; i + 8 <= count; i += 8) {
    __m256 value = _mm256_loadu_ps(in + i);
    __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(value), magnitudeMask);
    __m256i bad = _mm256_and_si256(_mm256_cmpgt_epi32(magnitude, belowOverflow),
                                   _mm256_cmpgt_epi32(infinity, magnitude));
    if (!_mm256_testz_si256(bad, bad))
      overflowed += llvm::popcount(unsigned(_mm256_movemask_ps(_mm256_castsi256_ps(bad))));
    __m128i half = _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(out + i), half);
  }
  return overflowed + portable::floatToHalf(in + i, out + i, count - i);
}

__attribute__((target("avx,avx2,f16c"))) void vectorHalfToFloat(const uint16_t *in, float *out,
                                                                size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(out + i,
                     _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(in + i))));
  portable::halfToFloat(in + i, out + i, count - i);
}

/// Every processor with AVX2 has F16C, and compilers know the name "avx2" for longer.
bool hasVectorConversion() {
  static const bool has = __builtin_cpu_supports("avx2");
  return has;
}

} // namespace

#elif defined(__aarch64__)

namespace {

size_t vectorFloatToHalf(const float *in, uint16_t *out, size_t count) {
  const uint32x4_t magnitudeMask = vdupq_n_u32(0x7FFFFFFF);
  const uint32x4_t overflow = vdupq_n_u32(overflowBits);
  const uint32x4_t infinity = vdupq_n_u32(infinityBits);
  size_t overflowed = 0, i = 0;
  for (; i + 4 <= count; i += 4) {
    float32x4_t value = vld1q_f32(in + i);
    uint32x4_t magnitude = vandq_u32(vreinterpretq_u32_f32(value), magnitudeMask);
    uint32x4_t bad = vandq_u32(vcgeq_u32(magnitude, overflow), vcltq_u32(magnitude, infinity));
    overflowed += vaddvq_u32(vshrq_n_u32(bad, 31));
    vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(value)));
  }
  return overflowed + portable::floatToHalf(in + i, out + i, count - i);
}

void vectorHalfToFloat(const uint16_t *in, float *out, size_t count) {
  size_t i = 0;
  for (; i + 4 <= count; i += 4)
    vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(in + i))));
  portable::halfToFloat(in + i, out + i, count - i);
}

bool hasVectorConversion() { return true; }

} // namespace

#else

namespace {

size_t vectorFloatToHalf(const float *in, uint16_t *out, size_t count) {
  return portable::floatToHalf(in, out, count);
}
void vectorHalfToFloat(const uint16_t *in, float *out, size_t count) {
  portable::halfToFloat(in, out, count);
}
bool hasVectorConversion() { return false; }

} // namespace

#endif

size_t floatToHalf(const float *in, uint16_t *out, size_t count) {
  return hasVectorConversion() ? vectorFloatToHalf(in, out, count)
                               : portable::floatToHalf(in, out, count);
}

void halfToFloat(const uint16_t *in, float *out, size_t count) {
  if (hasVectorConversion())
    vectorHalfToFloat(in, out, count);
  else
    portable::halfToFloat(in, out, count);
}

void bfloat16ToFloat(const uint16_t *in, float *out, size_t count) {
  for (size_t i = 0; i < count; ++i)
    out[i] = llvm::bit_cast<float>(uint32_t(in[i]) << 16);
}

uint16_t floatToHalf(float value) { return halfFromBits(llvm::bit_cast<uint32_t>(value)); }

float halfToFloat(uint16_t value) { return llvm::bit_cast<float>(floatBitsFromHalf(value)); }

} // namespace plait
