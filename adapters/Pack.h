// The arrays of an adapter for a function of LoraMode::Inputs.
#pragma once

#include "adapters/Adapter.h"

namespace plait::adapters {

/// Those of an adapter, without a weight, in the order of the function's inputs.
Expected<std::vector<PackedInput>> packAdapter(const AdapterSpec &adapter,
                                               llvm::ArrayRef<AdapterInput> inputs,
                                               const ReadPickle &readPickle);

} // namespace plait::adapters
