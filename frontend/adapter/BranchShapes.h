// Whether the tensors of a branch are all there and fit the module's weight.
#pragma once

#include "frontend/adapter/AdapterPlan.h"

namespace plait::frontend {

/// "[4, 32]"
std::string shapeText(at::IntArrayRef shape);

/// Checks one branch, brings its factors into the rank of the module's weight ([r, in, 1, 1] of a
/// linear layer into [r, in]) and its magnitudes under one name, and says its rank: of LoRA, LoHa
/// and LoKr; 1 of others.
Expected<int64_t> checkBranch(const AdaptedModule &module, AdapterBranch &branch);

} // namespace plait::frontend
