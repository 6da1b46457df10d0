// What the weight writer tells while it works, as a share of the work and as phases.
#pragma once

#include "backend/WeightWriter.h"

namespace plait::driver {

/// `proceed` is told the share of the writing that is done, and says whether to go on; `phase`
/// hears "write" once weights are compared no longer and are written. Both are called by several
/// threads.
WriteProgress writeSteps(std::function<bool(double)> proceed,
                         std::function<void(llvm::StringRef)> phase);

} // namespace plait::driver
