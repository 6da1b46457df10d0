// Names of tensors that are no adapter's that plait reads: which tool they look like, and what to
// do.
//
//   layers.0.attn.q_proj.lora_a.weight        torchtune
//   model.layers.0.self_attn.q_proj.lora_a    MLX, whose adapter_config.json is missing
//   double_blocks.0.processor.qkv_lora1.up.weight  XLabs
#pragma once

#include "llvm/ADT/StringRef.h"

#include <string>

namespace plait::adapters {

/// Why a tensor of this name cannot be used where no configuration says its kind: it belongs to a
/// kind of adapter that plait does not know, or to a tool whose configuration is missing. Empty
/// where it can.
std::string whyForeign(llvm::StringRef key);

/// Of a tensor that no module of the base was found for: "it looks like a tensor of TOOL; ADVICE".
/// Empty where the name says nothing.
std::string likelyTool(llvm::StringRef key);

} // namespace plait::adapters
