// How the interpreter computes with half precision.
#pragma once

#include <cstdint>

namespace plait::runtime {

enum class Compute : uint8_t {
  Float32, ///< fp16 values are held in fp16; each operation computes in fp32 and rounds its results
  Native,  ///< each operation computes in fp16 on LibTorch's fp16 kernels, where there are any
  Exact,   ///< fp16 values are held in fp32 and never rounded: the program as fp32 would run it
  Smooth,  ///< as Exact, and quantize and round give the numbers between two steps as they are
};

} // namespace plait::runtime
