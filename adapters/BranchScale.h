// What a branch is multiplied with: alpha / rank, as the tool that made the adapter has it.
#pragma once

#include "adapters/AdapterPlan.h"

namespace plait::adapters {

/// What decides where neither a configuration nor a tensor says the scale.
struct ScaleSource {
  std::optional<GivenScale> given; ///< by the user
  bool ofDiffusers = false;        ///< the file is one of diffusers', who means one
};

/// Whether the adapter's files leave the scale of a branch open.
bool lacksScale(const std::optional<AdapterConfig> &config, const AdapterBranch &branch);

/// Without the weight in a blend. `rank` is that of the factors; 1 for (IA)3 and VeRA, whose scale
/// is one. Messages do not name the module.
Expected<double> branchScale(const std::optional<AdapterConfig> &config, llvm::StringRef module,
                             const AdapterBranch &branch, int64_t rank, const ScaleSource &source);

/// Whether the factor of that name carries the scale where the arrays of an adapter hold it: one
/// factor of each product, and a bias.
bool carriesScale(const AdapterBranch &branch, llvm::StringRef factor);

} // namespace plait::adapters
