// VeRA's two random matrices, which all of its modules share, where the adapter was saved without
// them (save_projection=False): PEFT draws them anew from the seed in the configuration.
#pragma once

#include <ATen/core/Tensor.h>

namespace plait::frontend {

struct VeraProjections {
  at::Tensor a; ///< [rank, in]
  at::Tensor b; ///< [out, rank]
};

/// `in` and `out` are the largest of the adapted modules.
VeraProjections drawProjections(uint64_t seed, int64_t rank, int64_t in, int64_t out);

} // namespace plait::frontend
