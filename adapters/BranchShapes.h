// Whether the tensors of a branch are all there and fit the module's weight.
#pragma once

#include "adapters/AdapterPlan.h"

namespace plait::adapters {

/// Checks one branch of a module, which is of class `type`, brings its factors into the rank of the
/// module's weight ([r, in, 1, 1] of a linear layer into [r, in]) and its magnitudes under one
/// name, and says its rank: of LoRA, LoHa and LoKr; 1 of others.
Expected<int64_t> checkBranch(llvm::StringRef type, const AdaptedModule &module,
                              AdapterBranch &branch);

} // namespace plait::adapters
