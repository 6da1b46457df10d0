// Reading the few members that matter.
#include "adapters/MlxConfig.h"

#include "support/Json.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

namespace plait::adapters {

namespace json = llvm::json;
using llvm::StringRef;

bool isMlxConfig(const json::Object &object) {
  return !object.get("peft_type") &&
         llvm::any_of(llvm::ArrayRef<StringRef>{"fine_tune_type", "lora_parameters", "lora_layers"},
                      [&](StringRef member) { return object.get(member); });
}

static Expected<double> number(const json::Object &object, StringRef member) {
  auto value = object.getNumber(member);
  if (!value || !std::isfinite(*value))
    return makeError(Code::AdapterConfig,
                     "'lora_parameters' has no number '{0}', without which mlx-lm loads no adapter",
                     member);
  return *value;
}

/// Versions of mlx-lm before 0.16 multiplied the scale with alpha / rank; later ones ignore alpha.
static Error checkAlpha(const json::Object &parameters, double rank, double scale) {
  const json::Value *alpha = parameters.get("alpha");
  if (!alpha || alpha->kind() == json::Value::Null)
    return Error::success();
  auto value = alpha->getAsNumber();
  if (value && *value == rank)
    return Error::success();
  return makeError(
      Code::AdapterScale,
      "'lora_parameters' has an 'alpha', which the mlx-lm of early 2024 multiplied the "
      "scale with, as alpha / rank, and which later versions ignore; take it out of "
      "the file, and leave 'scale' at {0} where a later one trained the adapter, or "
      "else multiply it",
      jsonText(scale));
}

static Error readKeys(const json::Object &parameters, ModuleChoice &targets) {
  const json::Value *keys = parameters.get("keys");
  if (!keys || keys->kind() == json::Value::Null)
    return Error::success();
  const json::Array *array = keys->getAsArray();
  for (const json::Value &key : array ? *array : json::Array()) {
    auto name = key.getAsString();
    if (!name)
      return makeError(Code::AdapterConfig,
                       "'keys' of 'lora_parameters' holds something other than texts");
    targets.names.push_back(name->str());
  }
  if (!array)
    return makeError(Code::AdapterConfig, "'keys' of 'lora_parameters' is no list of texts");
  targets.given = !targets.names.empty();
  return Error::success();
}

Expected<AdapterConfig> readMlxConfig(const json::Object &object) {
  AdapterConfig config;
  StringRef type = object.getString("fine_tune_type").value_or("lora");
  if (type != "lora" && type != "dora")
    return makeError(Code::AdapterKind,
                     "MLX's adapters of the kind '{0}' are not supported (lora and dora are); fuse "
                     "it into the model (mlx_lm.fuse), trace that and give it as --function "
                     "NAME=MODEL.pt",
                     type);
  config.dora = type == "dora" || object.getBoolean("use_dora").value_or(false);
  const json::Object *parameters = object.getObject("lora_parameters");
  if (!parameters)
    return makeError(Code::AdapterConfig,
                     "MLX's configuration has no 'lora_parameters', which say rank and scale");
  for (const auto &[member, value] : *parameters)
    if (!llvm::is_contained({"rank", "scale", "alpha", "dropout", "keys"}, StringRef(member)))
      return makeError(Code::AdapterKind,
                       "plait does not know '{0}' of 'lora_parameters', and cannot tell whether it "
                       "changes what the adapter computes; take it out of the file where it does "
                       "not",
                       StringRef(member));
  auto rank = number(*parameters, "rank");
  if (!rank)
    return rank.takeError();
  if (!(*rank >= 1 && *rank <= 1 << 24 && *rank == std::floor(*rank)))
    return makeError(Code::AdapterConfig, "'rank' is {0}, which is no rank", jsonText(*rank));
  auto scale = number(*parameters, "scale");
  if (!scale)
    return scale.takeError();
  config.rank = int64_t(*rank);
  config.mlxScale = *scale;
  if (Error error = checkAlpha(*parameters, *rank, *scale))
    return error;
  if (Error error = readKeys(*parameters, config.targets))
    return error;
  return config;
}

} // namespace plait::adapters
