// Tables of the forms that keys have in other tools.
#include "adapters/ForeignKeys.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"

namespace plait::adapters {

using llvm::StringRef;

static constexpr const char *kMlx =
    "is one of MLX, whose scale is in the adapter_config.json beside adapters.safetensors; give "
    "the folder that mlx_lm.lora wrote";
static constexpr const char *kTorchtune =
    "is one of torchtune, whose scale is in its recipe; save the adapter in PEFT's form, as its "
    "checkpointers of Hugging Face models do (adapter_config.json and adapter_model.safetensors), "
    "and give that folder";

std::string whyForeign(StringRef key) {
  llvm::SmallVector<StringRef, 16> parts;
  key.split(parts, '.');
  bool isWeight = parts.size() > 1 && parts.back() == "weight";
  StringRef last = isWeight ? parts[parts.size() - 2] : parts.back();
  if (llvm::is_contained({"ia3_l", "vera_lambda_b", "vera_lambda_d", "lora_E"}, last))
    return "belongs to an adapter of PEFT whose adapter_config.json is missing; give the folder "
           "that save_pretrained wrote";
  if (llvm::is_contained({"lora_a", "lora_b"}, last))
    return isWeight ? kTorchtune : kMlx;
  StringRef kind = llvm::StringSwitch<StringRef>(last)
                       .Cases("oft_blocks", "oft_diag", "oft_R", "OFT")
                       .Cases("boft_R", "boft_s", "BOFT")
                       .Case("hra_u", "HRA")
                       .Case("on_input", "(IA)3 of LyCORIS")
                       .Case("scalar", "LyCORIS with use_scalar")
                       .Cases("a1", "a2", "b1", "b2", "bm", isWeight ? "GLoRA" : "")
                       .Default("");
  if (kind.empty())
    return "";
  return ("belongs to an adapter of the kind " + kind +
          ", which is not supported; merge it into the model with the tool that made it, and give "
          "that as --function NAME=MODEL.pt")
      .str();
}

/// A tool whose keys are known by how they look, and how its adapters become ones that plait reads.
namespace {
struct Tool {
  const char *name, *advice;
};
} // namespace

static constexpr const char *kMerge =
    "merge it into the model with that tool, trace the model and give it as --function "
    "NAME=MODEL.pt";
static constexpr const char *kSameNames =
    "the base must have the module names of the model that it was trained on";

static Tool toolOf(StringRef key, llvm::ArrayRef<StringRef> parts) {
  StringRef last = parts.back(), before = parts.size() > 1 ? parts[parts.size() - 2] : "";
  auto has = [&](StringRef part) { return llvm::is_contained(parts, part); };
  if (key.contains(":up") || key.contains(":down"))
    return {"lora_diffusion (cloneofsimo)", kMerge};
  if (has("processor") && llvm::any_of(parts, [](StringRef part) {
        return part.contains("_lora") && !part.ends_with("_lora");
      }))
    return {"XLabs' trainer", kMerge};
  if (has("loras") || has("adapter_down") || has("adapter_up"))
    return {"AdapterHub's adapters", kMerge};
  if ((before == "linear_in" || before == "linear_out") && last == "weight")
    return {"NeMo", "export it to PEFT's form (hf_peft) and give that folder"};
  if (key.starts_with("bundle_emb.") || key.starts_with("emb_params"))
    return {"textual inversion", "it is rows of an embedding and no adapter of a layer"};
  if (parts.size() > 1 && (last == "A" || last == "B"))
    return {"mlx-vlm", kMerge};
  if (key.starts_with("lycoris_"))
    return {"LyCORIS", kSameNames};
  if (key.starts_with("lora_unet_") || key.starts_with("lora_te") ||
      key.starts_with("lora_transformer_"))
    return {"Kohya's scripts", "its names are those of the original checkpoint, with '_' for '.', "
                               "and the base must have them; the scripts' converters make those of "
                               "diffusers"};
  if (key.starts_with("diffusion_model."))
    return {"ComfyUI or ai-toolkit", "its names are those of the original checkpoint, and the base "
                                     "must have them; diffusers' load_lora_weights and "
                                     "save_lora_weights make those of diffusers"};
  if (has("to_q") || has("to_k") || has("transformer_blocks") || key.starts_with("unet."))
    return {"diffusers", kSameNames};
  if (key.starts_with("base_model.model."))
    return {"PEFT (and of Unsloth, Axolotl and LLaMA-Factory, which use it)", kSameNames};
  return {nullptr, nullptr};
}

std::string likelyTool(StringRef key) {
  if (std::string why = whyForeign(key); !why.empty())
    return "it " + why;
  llvm::SmallVector<StringRef, 16> parts;
  key.split(parts, '.');
  Tool tool = toolOf(key, parts);
  return tool.name ? std::string("its name looks like one of ") + tool.name + ": " + tool.advice
                   : "";
}

} // namespace plait::adapters
