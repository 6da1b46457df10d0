// Loops over numbers, compiled for wider registers as well and chosen by the processor. Both give
// the same numbers: additions keep their order, and nothing is contracted to fused operations.
//
//   return wide([&]() PLAIT_WIDE { return errorOf(values, scale); });
#pragma once

#if defined(__x86_64__)
#define PLAIT_WIDE __attribute__((always_inline))
#else
#define PLAIT_WIDE
#endif

namespace plait::compress {

#if defined(__x86_64__)

template <typename Body> __attribute__((target("avx2"), flatten)) auto withAvx2(Body body) {
  return body();
}

/// What `body` calls should be small or a template: where it is inlined, it is compiled for AVX2.
template <typename Body> auto wide(Body body) {
  static const bool has = __builtin_cpu_supports("avx2");
  return has ? withAvx2(body) : body();
}

#else

template <typename Body> auto wide(Body body) { return body(); }

#endif

} // namespace plait::compress
