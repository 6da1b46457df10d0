// What operators that are no quantised ones do where they are given quantised tensors.
#pragma once

#include "llvm/ADT/StringRef.h"

#include <cstdint>

namespace plait::frontend {

enum class OnQuantized : uint8_t {
  Refuse,
  AsAny,   ///< asks for shape or type: as of any tensor
  Same,    ///< gives some of the numbers that it is given, which need no rounding
  Rounded, ///< computes with the numbers, and rounds to the steps of the first tensor
  Sigmoid, ///< the same to 256 steps from 0 to 1
  Tanh,    ///< the same to 256 steps from -1 to 1
};

/// By the name without overload, "aten::max_pool2d".
OnQuantized onQuantized(llvm::StringRef name);

} // namespace plait::frontend
