// A kind of adapter; and where PEFT and other tools, or LoRA and AdaLoRA, differ, which.
#include "frontend/adapter/InputForm.h"

namespace plait::frontend {

using llvm::StringRef;

static constexpr const char *kScaledInputs = "(IA)3 of inputs",
                            *kScaledOutputs = "(IA)3 of outputs";
static constexpr const char *kDilated = "AdaLoRA", *kUndilated = "LoRA that is not dilated";
static constexpr const char *kPeftKron = "LoKr of PEFT", *kLycorisKron = "LoKr of LyCORIS";

std::string inputForm(const AdaptedModule &module, const AdapterBranch &branch) {
  bool convolution = module.use.kind == WeightUse::Convolution;
  switch (branch.kind) {
  case AdapterKind::Ia3:
    return branch.feedforward ? kScaledInputs : kScaledOutputs;
  case AdapterKind::Lora:
    if (convolution && module.use.isDilated() && !branch.find("lora_mid"))
      return branch.dilated ? kDilated : kUndilated;
    break;
  case AdapterKind::Lokr:
    if (const at::Tensor *whole = branch.find("lokr_w2"); whole && whole->dim() == 3)
      return branch.leadingKron ? kPeftKron : kLycorisKron;
    break;
  default:
    break;
  }
  return name(branch.kind).str();
}

Expected<bool> hasForm(StringRef form, const std::optional<AdapterConfig> &config, StringRef module,
                       AdapterKind kind) {
  if (kind == AdapterKind::Ia3) {
    auto ofInputs = config ? config->feedforward.endsIn(module) : Expected<bool>(false);
    if (!ofInputs)
      return ofInputs.takeError();
    return form == (*ofInputs ? kScaledInputs : kScaledOutputs);
  }
  if (form == name(kind))
    return true;
  if (kind == AdapterKind::Lora)
    return form == (config && config->adaptive ? kDilated : kUndilated);
  if (kind == AdapterKind::Lokr)
    return form == (config ? kPeftKron : kLycorisKron);
  return false;
}

} // namespace plait::frontend
