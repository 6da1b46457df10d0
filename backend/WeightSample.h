// A look at a weight: enough to tell apart what differs, nearly always, and nothing to go by where
// two look the same.
#pragma once

#include "mil/TensorData.h"

namespace plait {

/// Hash of a few short runs of elements, as they are written, spread over the tensor (of all of a
/// small one). Different hashes: different bytes.
uint64_t weightSample(const mil::TensorReader &reader);

} // namespace plait
