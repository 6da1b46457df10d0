// VeRA's two random matrices, which all of its modules share, where the adapter was saved without
// them (save_projection=False): PEFT draws them anew from the seed in the configuration.
#pragma once

#include "adapters/AdapterPlan.h"

namespace plait::adapters {

/// "vera_A" [rank, in] and "vera_B" [out, rank] of a configuration with a seed, under the keys that
/// PEFT would save them by. `in` and `out` are the largest of the adapted modules.
std::map<std::string, AdapterBranch::Factor> drawProjections(const AdapterConfig &config,
                                                             int64_t in, int64_t out);

} // namespace plait::adapters
