// Parts of compressed weights as tensors, and bytes in the order in which a weight lies.
#pragma once

#include "compress/Layout.h"

namespace plait::compress {

/// Of indices of so many bits: 1, 2, 3, 4, 6 or 8.
mil::DType indexType(unsigned bits);
mil::DType integerType(const Scheme::Linear &linear);
/// Numbers as fp16 or fp32.
mil::TensorData numbers(mil::DType dtype, llvm::ArrayRef<int64_t> shape,
                        llvm::ArrayRef<float> values);
/// From the order (out, in, others) to that of the weight.
std::vector<uint8_t> asItLies(const Layout &layout, llvm::ArrayRef<uint8_t> bytes);

} // namespace plait::compress
