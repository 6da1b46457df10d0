// The adapter_config.json that mlx-lm writes beside adapters.safetensors: all options of a training
// run, of which these say what the adapter computes.
//
//   {"fine_tune_type": "lora", "num_layers": 16,
//    "lora_parameters": {"rank": 8, "scale": 20.0, "dropout": 0.0, "keys": ["self_attn.q_proj"]}}
#pragma once

#include "adapters/AdapterConfig.h"

#include "llvm/Support/JSON.h"

namespace plait::adapters {

bool isMlxConfig(const llvm::json::Object &object);
/// Kinds that plait does not know are refused by name, and so is what several versions of mlx-lm
/// read differently.
Expected<AdapterConfig> readMlxConfig(const llvm::json::Object &object);

} // namespace plait::adapters
