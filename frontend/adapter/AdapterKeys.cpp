// Cutting a key at the name of the factor.
#include "frontend/adapter/AdapterKeys.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

namespace plait::frontend {

using llvm::StringRef;

static bool isFactor(StringRef name, bool fromPeft) {
  static const llvm::StringSet<> factors = {"lora_A",
                                            "lora_B",
                                            "lora_embedding_A",
                                            "lora_embedding_B",
                                            "lora_magnitude_vector",
                                            "lora_down",
                                            "lora_up",
                                            "lora_mid",
                                            "dora_scale",
                                            "ia3_l",
                                            "hada_w1_a",
                                            "hada_w1_b",
                                            "hada_w2_a",
                                            "hada_w2_b",
                                            "hada_t1",
                                            "hada_t2",
                                            "lokr_w1",
                                            "lokr_w1_a",
                                            "lokr_w1_b",
                                            "lokr_w2",
                                            "lokr_w2_a",
                                            "lokr_w2_b",
                                            "lokr_t2",
                                            "vera_lambda_b",
                                            "vera_lambda_d",
                                            "vera_A",
                                            "vera_B",
                                            "lora_E"};
  return factors.contains(name) || (!fromPeft && name == "alpha");
}

/// "lora_unet_" and the like in front of a path without dots; empty where there is none.
static StringRef flattenedPrefix(StringRef key) {
  for (StringRef prefix :
       {"lora_prior_unet_", "lora_transformer_", "lora_text_encoder_", "lora_unet_", "lora_te1_",
        "lora_te2_", "lora_te3_", "lora_te_", "lycoris_", "lora_"})
    if (key.starts_with(prefix))
      return key.take_front(prefix.size());
  return "";
}

AdapterKey parseAdapterKey(StringRef key, bool fromPeft) {
  AdapterKey result;
  llvm::SmallVector<StringRef, 16> parts;
  bool peftPrefix = key.consume_front("base_model.model.") || key.consume_front("base_model.");
  key.split(parts, '.');

  llvm::SmallVector<StringRef, 16> path;
  size_t at = 0;
  for (; at < parts.size() && !isFactor(parts[at], fromPeft); ++at) {
    // diffusers' older spelling of lora_up and lora_down.
    if (parts[at] == "lora" && at + 1 < parts.size() &&
        (parts[at + 1] == "up" || parts[at + 1] == "down")) {
      result.factor = parts[at + 1] == "up" ? "lora_B" : "lora_A";
      at += 2;
      break;
    }
    if (parts[at] == "base_layer" || parts[at] == "modules_to_save" ||
        (fromPeft && parts[at] == "ln_tuning_layers")) {
      // What follows the others is the adapter's name.
      if (parts[at] != "base_layer" && at + 2 < parts.size())
        ++at;
      continue;
    }
    path.push_back(parts[at]);
  }
  if (result.factor.empty() && at < parts.size()) {
    StringRef name = parts[at++];
    result.factor = name == "lora_down" ? "lora_A" : name == "lora_up" ? "lora_B" : name.str();
    // [adapter name] then weight or bias.
    if (at < parts.size() && parts.back() == "bias")
      result.factor += ".bias";
  }
  if (result.factor.empty() && !path.empty()) {
    result.attribute = path.pop_back_val().str();
  } else if (!peftPrefix && !fromPeft && path.size() == 1) {
    StringRef prefix = flattenedPrefix(path[0]);
    result.flattened = !prefix.empty();
    path[0] = path[0].drop_front(prefix.size());
  }
  result.module = llvm::join(path, ".");
  return result;
}

} // namespace plait::frontend
