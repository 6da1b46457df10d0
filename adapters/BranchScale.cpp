// PEFT's rule, and that of Kohya's scripts and LyCORIS.
#include "adapters/BranchScale.h"

#include "adapters/Tensors.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"

#include <cmath>

namespace plait::adapters {

using llvm::StringRef;

static bool isOfPeft(const AdapterBranch &branch) {
  return llvm::any_of(branch.factors, [](const auto &factor) {
    return StringRef(factor.second.key).starts_with("base_model.model.");
  });
}

static Expected<double> quotient(const std::optional<AdapterConfig> &config, StringRef module,
                                 const AdapterBranch &branch, int64_t rank) {
  if (branch.kind == AdapterKind::Ia3 || branch.kind == AdapterKind::Vera)
    return 1.0;
  bool wholeLokr = branch.find("lokr_w1") && branch.find("lokr_w2");
  if (!config) {
    // Alpha is a tensor; where there is none, and for a LoKr without a rank, the scale is one.
    const TensorData *alpha = branch.find("alpha");
    if (!alpha && branch.kind == AdapterKind::Lora && isOfPeft(branch))
      return makeError("its scale is alpha by rank, which PEFT keeps in adapter_config.json, and "
                       "that is missing; give the folder that save_pretrained wrote");
    if (!alpha || wholeLokr)
      return 1.0;
    if (alpha->numElements() != 1)
      return makeError("'alpha' has {0} elements, and one number is wanted", alpha->numElements());
    return numberOf(*alpha) / double(rank);
  }
  if (config->adaptive) // AdaLoRA divides by the rank that it began with
    return (config->alpha > 0 ? config->alpha : double(rank)) / (double(config->rank) + 1e-5);
  auto alpha = config->alphaOf(module);
  if (!alpha)
    return alpha.takeError();
  auto stated = config->rankOf(module);
  if (!stated)
    return stated.takeError();
  if (!wholeLokr && *stated != rank)
    return makeError("its factors have rank {0}, and adapter_config.json says {1}", rank, *stated);
  return *alpha / (config->rankScaled ? std::sqrt(double(*stated)) : double(*stated));
}

Expected<double> branchScale(const std::optional<AdapterConfig> &config, StringRef module,
                             const AdapterBranch &branch, int64_t rank) {
  auto scale = quotient(config, module, branch, rank);
  if (scale && !std::isfinite(float(*scale)))
    return makeError("its scale, alpha by rank, is no number that fp32 has");
  return scale;
}

bool carriesScale(const AdapterBranch &branch, StringRef factor) {
  return llvm::StringSwitch<bool>(factor)
      .Cases("lora_B", "lora_B.bias", "lora_embedding_B", "hada_w1_a", "ia3_l", "vera_lambda_b",
             true)
      .Case("lokr_w1", true)
      .Case("lokr_w1_a", !branch.find("lokr_w1"))
      .Default(false);
}

} // namespace plait::adapters
