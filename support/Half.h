// Conversions between arrays of fp16, bf16 and fp32: F16C on x86-64, NEON on AArch64, portable
// elsewhere, all bit-identical. They round to nearest even and keep subnormals. A NaN stays a quiet
// NaN with the top bits of its payload, as the hardware and LibTorch do it. Values are raw bits:
// uint16_t holds fp16 or bf16.
#pragma once

#include <cstddef>
#include <cstdint>

namespace plait {

/// fp32 to fp16. Returns how many finite inputs became infinite (magnitude 65520 and above), for
/// the caller to warn. `in` and `out` hold `count` elements and do not overlap.
size_t floatToHalf(const float *in, uint16_t *out, size_t count);

/// fp16 to fp32, exact.
void halfToFloat(const uint16_t *in, float *out, size_t count);

/// bf16 to fp32, exact (NaN payloads included).
void bfloat16ToFloat(const uint16_t *in, float *out, size_t count);

uint16_t floatToHalf(float value);
float halfToFloat(uint16_t value);

/// The fallbacks, callable everywhere so that tests can hold the vector code against them.
namespace portable {
size_t floatToHalf(const float *in, uint16_t *out, size_t count);
void halfToFloat(const uint16_t *in, float *out, size_t count);
} // namespace portable

} // namespace plait
