// PEFT's rule, and that of Kohya's scripts and LyCORIS.
#include "frontend/adapter/BranchScale.h"

#include "llvm/ADT/StringSwitch.h"

#include <ATen/Functions.h>

#include <cmath>

namespace plait::frontend {

using llvm::StringRef;

Expected<double> branchScale(const std::optional<AdapterConfig> &config, StringRef module,
                             const AdapterBranch &branch, int64_t rank) {
  if (branch.kind == AdapterKind::Ia3 || branch.kind == AdapterKind::Vera)
    return 1.0;
  if (!config) {
    // Alpha is a tensor; where there is none, and for a LoKr without a rank, the scale is one.
    const at::Tensor *alpha = branch.find("alpha");
    bool wholeLokr = branch.find("lokr_w1") && branch.find("lokr_w2");
    if (!alpha || alpha->numel() != 1 || wholeLokr)
      return 1.0;
    return alpha->to(at::kDouble).item<double>() / double(rank);
  }
  if (config->adaptive) // AdaLoRA divides by the rank that it began with
    return (config->alpha > 0 ? config->alpha : double(rank)) / (double(config->rank) + 1e-5);
  auto alpha = config->alphaOf(module);
  if (!alpha)
    return alpha.takeError();
  auto stated = config->rankOf(module);
  if (!stated)
    return stated.takeError();
  if (branch.kind == AdapterKind::Lora && *stated != rank)
    return makeError("its factors have rank {0}, and adapter_config.json says {1}", rank, *stated);
  return *alpha / (config->rankScaled ? std::sqrt(double(*stated)) : double(*stated));
}

bool carriesScale(const AdapterBranch &branch, StringRef factor) {
  return llvm::StringSwitch<bool>(factor)
      .Cases("lora_B", "lora_B.bias", "lora_embedding_B", "hada_w1_a", "ia3_l", "vera_lambda_b",
             true)
      .Case("lokr_w1", true)
      .Case("lokr_w1_a", !branch.find("lokr_w1"))
      .Default(false);
}

} // namespace plait::frontend
