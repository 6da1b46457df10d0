// What an operation costs by its types alone: arithmetic, and bytes of what it reads and writes.
#pragma once

#include "mil/IR.h"

namespace plait::driver {

struct CostEstimate {
  uint64_t arithmetic = 0; ///< multiplications and additions, each one; other functions as one
  uint64_t bytes = 0;      ///< of operands, weights and results, each once
};

/// Dimensions that vary count at their smallest size. Of control flow: nothing, its blocks'
/// operations count for themselves.
CostEstimate estimateCost(const mil::Op &op);

} // namespace plait::driver
