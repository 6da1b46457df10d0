// A kind of adapter; and where PEFT and other tools, or LoRA and AdaLoRA, differ, which.
#include "adapters/InputKind.h"

namespace plait::adapters {

using llvm::StringRef;

static constexpr const char *kScaledInputs = "(IA)3 of inputs",
                            *kScaledOutputs = "(IA)3 of outputs";
static constexpr const char *kDilated = "AdaLoRA", *kUndilated = "LoRA that is not dilated";
static constexpr const char *kPeftKron = "LoKr of PEFT", *kLycorisKron = "LoKr of LyCORIS";

std::string inputKind(const AdaptedModule &module, const AdapterBranch &branch) {
  bool convolution = module.layer.kind == Layer::Convolution;
  switch (branch.kind) {
  case AdapterKind::Ia3:
    return branch.feedforward ? kScaledInputs : kScaledOutputs;
  case AdapterKind::Lora:
    if (convolution && module.layer.isDilated() && !branch.find("lora_mid"))
      return branch.dilated ? kDilated : kUndilated;
    break;
  case AdapterKind::Lokr:
    if (const TensorData *whole = branch.find("lokr_w2"); whole && whole->rank() == 3)
      return branch.leadingKron ? kPeftKron : kLycorisKron;
    break;
  default:
    break;
  }
  return name(branch.kind).str();
}

Expected<bool> isOfKind(StringRef kind, const std::optional<AdapterConfig> &config,
                        StringRef module, AdapterKind ofAdapter) {
  if (ofAdapter == AdapterKind::Ia3) {
    auto ofInputs = config ? config->feedforward.endsIn(module) : Expected<bool>(false);
    if (!ofInputs)
      return ofInputs.takeError();
    return kind == (*ofInputs ? kScaledInputs : kScaledOutputs);
  }
  if (kind == name(ofAdapter))
    return true;
  if (ofAdapter == AdapterKind::Lora)
    return kind == (config && config->adaptive ? kDilated : kUndilated);
  if (ofAdapter == AdapterKind::Lokr)
    return kind == (config ? kPeftKron : kLycorisKron);
  return false;
}

} // namespace plait::adapters
