// Cutting a key at the name of the factor.
#include "adapters/AdapterKeys.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"

#include <cstring>
#include <optional>

namespace plait::adapters {

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
                                            "lora_E",
                                            "trainable_tokens_delta"};
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

using Parts = llvm::SmallVector<StringRef, 16>;

/// Where the factor's name is: among the last three parts, with nothing after it but the adapter's
/// name and "weight" or "bias". Modules may have such names too, so that the last one counts.
static std::optional<size_t> factorPlace(const Parts &parts, bool fromPeft) {
  for (size_t i = parts.size(), after = 0; i-- > 0 && after <= 2; ++after) {
    if (!isFactor(parts[i], fromPeft) || (after > 0 && parts[i + 1] == "base_layer") ||
        (after == 2 && parts.back() != "weight" && parts.back() != "bias"))
      continue;
    // PEFT adapts no model as a whole; VeRA's projections are the model's.
    if (i > 0 || !fromPeft || parts[i].starts_with("vera_"))
      return i;
  }
  return std::nullopt;
}

/// diffusers' older spellings: "to_q.lora.up.weight", "q_proj.lora_linear_layer.up.weight",
/// "attn1.processor.to_q_lora.up.weight". Leaves the path in `parts`.
static bool isOldFactor(Parts &parts, AdapterKey &result) {
  if (parts.size() < 4 || (parts[parts.size() - 2] != "up" && parts[parts.size() - 2] != "down"))
    return false;
  StringRef name = parts[parts.size() - 3];
  bool processor = parts[parts.size() - 4] == "processor" && name.consume_back("_lora");
  if (!processor && name != "lora" && name != "lora_linear_layer")
    return false;
  result.factor = parts[parts.size() - 2] == "up" ? "lora_B" : "lora_A";
  parts.pop_back_n(processor ? 4 : 3);
  if (processor)
    parts.push_back(name);
  if (processor && name == "to_out")
    parts.push_back("0");
  return true;
}

/// Takes out what PEFT's wrappers put into the path of a parameter or factor.
static void dropWrappers(Parts &parts, bool isParameter, bool fromPeft) {
  Parts path;
  for (size_t i = 0; i < parts.size(); ++i) {
    bool isBase = parts[i] == "base_layer" && (isParameter || i + 1 < parts.size());
    bool isReplaced = isParameter && (parts[i] == "modules_to_save" ||
                                      (fromPeft && parts[i] == "ln_tuning_layers"));
    if (i == 0 || !(isBase || isReplaced))
      path.push_back(parts[i]);
    else if (isReplaced && i + 2 < parts.size()) // what follows is the adapter's name
      ++i;
  }
  parts = std::move(path);
}

/// Takes out what torch.compile, FSDP and checkpointing put before what they wrap, and what
/// DistributedDataParallel puts before the whole.
static void dropTraining(Parts &parts) {
  Parts path;
  for (size_t i = 0; i < parts.size(); ++i)
    if (i + 1 == parts.size() ||
        !llvm::is_contained({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"},
                            parts[i]))
      path.push_back(parts[i]);
  if (path.size() > 2 && path[0] == "module" && path[1] == "base_model")
    path.erase(path.begin());
  parts = std::move(path);
}

/// The names of `prefix` at the front of the parts, if all are there.
static bool consumeFront(Parts &parts, llvm::ArrayRef<StringRef> prefix) {
  if (parts.size() <= prefix.size() ||
      !llvm::equal(llvm::ArrayRef(parts).take_front(prefix.size()), prefix))
    return false;
  parts.erase(parts.begin(), parts.begin() + prefix.size());
  return true;
}

/// MLX's name of a factor by PEFT's.
static StringRef factorOfMlx(StringRef name) {
  return llvm::StringSwitch<StringRef>(name)
      .Case("lora_a", "lora_A")
      .Case("lora_b", "lora_B")
      .Case("m", "lora_magnitude_vector")
      .Default("");
}

/// Whether a path that begins with a part's name is that of a language model, GPT-2's
/// "transformer.h.0" or Falcon's "transformer.word_embeddings", and no name of diffusers'.
static bool isOfLanguageModel(llvm::ArrayRef<StringRef> parts) {
  return parts.size() > 1 && parts[0] == "transformer" &&
         llvm::is_contained({"h", "wte", "wpe", "word_embeddings", "layer", "encoder"}, parts[1]);
}

/// What is added to a parameter of the base: LyCORIS' of whole layers and of norms.
static StringRef differenceOf(StringRef name) {
  return llvm::StringSwitch<StringRef>(name)
      .Cases("diff", "w_norm", "weight")
      .Cases("diff_b", "b_norm", "bias")
      .Default("");
}

AdapterKey parseAdapterKey(StringRef key, KeyForm form) {
  AdapterKey result;
  bool fromPeft = form == KeyForm::Peft;
  Parts parts;
  key.split(parts, '.');
  dropTraining(parts);
  bool peftPrefix =
      consumeFront(parts, {"base_model", "model"}) || consumeFront(parts, {"base_model"});
  if (StringRef name = parts.size() > 1 ? factorOfMlx(parts.back()) : "";
      form == KeyForm::Mlx && !name.empty()) {
    result.factor = name.str();
    parts.pop_back();
  } else if (auto at = factorPlace(parts, fromPeft)) {
    StringRef name = parts[*at];
    result.factor = name == "lora_down" ? "lora_A" : name == "lora_up" ? "lora_B" : name.str();
    if (*at + 1 < parts.size() && parts.back() == "bias")
      result.factor += ".bias";
    parts.truncate(*at);
    if (name == "trainable_tokens_delta" && parts.size() > 1 && parts.back() == "token_adapter")
      parts.pop_back();
    dropWrappers(parts, /*isParameter=*/false, fromPeft);
  } else if (fromPeft || !(result.ofDiffusers = isOldFactor(parts, result))) {
    dropWrappers(parts, /*isParameter=*/true, fromPeft);
    StringRef attribute = parts.pop_back_val();
    StringRef base = form == KeyForm::Other ? differenceOf(attribute) : "";
    result.isDifference = !base.empty();
    result.attribute = (result.isDifference ? base : attribute).str();
  }
  result.module = llvm::join(parts, ".");
  if (peftPrefix || form != KeyForm::Other || parts.empty())
    return result;
  bool isAdapter = !result.factor.empty() || result.isDifference;
  if (StringRef prefix = flattenedPrefix(parts[0]);
      isAdapter && parts.size() == 1 && !prefix.empty()) {
    result.flattened = true;
    result.part = prefix.str();
    result.module.erase(0, prefix.size());
    for (size_t at; (at = result.module.find("_orig_mod_")) != std::string::npos;)
      result.module.erase(at, strlen("_orig_mod_"));
    return result;
  }
  // diffusers puts the part of its pipeline in front, and ComfyUI the name of the model.
  static const llvm::StringSet<> components = {"unet",           "transformer",    "text_encoder",
                                               "text_encoder_2", "text_encoder_3", "prior",
                                               "diffusion_model"};
  if (components.contains(parts[0])) {
    result.part = parts[0].str();
    result.ofDiffusers |= parts[0] != "diffusion_model" && !isOfLanguageModel(parts);
  }
  return result;
}

} // namespace plait::adapters
