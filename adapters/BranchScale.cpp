// PEFT's rule, and that of Kohya's scripts and LyCORIS.
#include "adapters/BranchScale.h"

#include "adapters/Tensors.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"

#include <cmath>

namespace plait::adapters {

using llvm::StringRef;

static bool isScaled(const AdapterBranch &branch) {
  return branch.kind != AdapterKind::Ia3 && branch.kind != AdapterKind::Vera;
}

/// A LoKr without a rank, whose scale is one.
static bool isWholeLokr(const AdapterBranch &branch) {
  return branch.find("lokr_w1") && branch.find("lokr_w2");
}

bool lacksScale(const std::optional<AdapterConfig> &config, const AdapterBranch &branch) {
  return !config && isScaled(branch) && !isWholeLokr(branch) && !branch.find("alpha");
}

/// Why the scale is not known, and how it comes to be.
static Error explainMissing(const AdapterBranch &branch) {
  StringRef key = branch.factors.begin()->second.key;
  const char *wayOut = "--lora-alpha ALPHA says the alpha that it was trained with, --lora-scale "
                       "SCALE the scale itself";
  if (key.contains("base_model."))
    return makeError(Code::AdapterScale,
                     "its scale is alpha by rank, which PEFT keeps in adapter_config.json, and "
                     "that is missing; give the folder that save_pretrained wrote; or {0}",
                     wayOut);
  bool hasLostAlpha = key.starts_with("lora_") || key.starts_with("lycoris_") ||
                      key.starts_with("diffusion_model.");
  return makeError(Code::AdapterScale,
                   "nothing says its scale: there is neither an adapter_config.json nor a tensor "
                   "'alpha', and its names are not those of diffusers, whose scale is one then; "
                   "{0}{1}",
                   wayOut,
                   hasLostAlpha ? " (ComfyUI and Kohya's scripts read such a file with 1)" : "");
}

static Expected<double> quotient(const std::optional<AdapterConfig> &config, StringRef module,
                                 const AdapterBranch &branch, int64_t rank,
                                 const ScaleSource &source) {
  bool wholeLokr = isWholeLokr(branch);
  if (!isScaled(branch) || (!config && wholeLokr))
    return 1.0;
  if (lacksScale(config, branch)) {
    if (source.given)
      return source.given->isAlpha ? source.given->value / double(rank) : source.given->value;
    return source.ofDiffusers ? Expected<double>(1.0) : explainMissing(branch);
  }
  if (!config) {
    const TensorData &alpha = branch["alpha"];
    if (alpha.numElements() != 1)
      return makeError(Code::AdapterScale, "'alpha' has {0} elements, and one number is wanted",
                       alpha.numElements());
    return numberOf(alpha) / double(rank);
  }
  if (config->mlxScale) {
    if (rank == config->rank)
      return *config->mlxScale;
    return makeError(Code::AdapterScale,
                     "its factors have rank {0}, and adapter_config.json says {1}", rank,
                     config->rank);
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
    return makeError(Code::AdapterScale,
                     "its factors have rank {0}, and adapter_config.json says {1}", rank, *stated);
  return *alpha / (config->rankScaled ? std::sqrt(double(*stated)) : double(*stated));
}

Expected<double> branchScale(const std::optional<AdapterConfig> &config, StringRef module,
                             const AdapterBranch &branch, int64_t rank, const ScaleSource &source) {
  auto scale = quotient(config, module, branch, rank, source);
  if (scale && !std::isfinite(float(*scale)))
    return makeError(Code::AdapterScale, "its scale, alpha by rank, is no number that fp32 has");
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
