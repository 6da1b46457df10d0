// Two functions beside each other.
#pragma once

#include "driver/diff/WeightTable.h"

namespace plait::driver {

/// Of operations, interface and weights; the weights go into the table.
Expected<FunctionDiff> diffFunctions(const mil::Function &a, const mil::Function &b,
                                     WeightTable &weights);

/// Equal for functions that differ in names alone, those of the interface apart.
Expected<uint64_t> fingerprintOf(const mil::Function &function, WeightTable &weights);

} // namespace plait::driver
