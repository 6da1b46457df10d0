// The names that PEFT, Kohya's scripts, LyCORIS and diffusers give to the tensors of an adapter.
//
//   base_model.model.layers.0.q_proj.lora_A.weight           PEFT
//   base_model.model.layers.0.q_proj.lora_A.default.weight   PEFT, with the adapter's name in it
//   base_model.model.classifier.bias                         PEFT: a replaced parameter
//   base_model.model.embed_tokens.token_adapter.trainable_tokens_delta  PEFT: rows for tokens
//   base_model.model.norm.ln_tuning_layers.weight            PEFT: another, of LN tuning
//   unet.down_blocks.0.proj_in.lora_B.weight                 diffusers
//   unet.down_blocks.0.proj_in.lora.up.weight                diffusers, older
//   text_encoder.layers.0.q_proj.lora_linear_layer.up.weight diffusers, older
//   down_blocks.0.attn1.processor.to_q_lora.up.weight        diffusers, the oldest
//   lora_unet_down_blocks_0_proj_in.lora_up.weight           Kohya: the path's dots are lost
//   lora_unet_down_blocks_0_proj_in.hada_w1_a                LyCORIS
//   lora_unet_down_blocks_0_proj_in.diff_b                   LyCORIS: added to the bias
//   model.layers.0.self_attn.q_proj.lora_a                   MLX; its magnitude is m
//
// What wraps a module while it is trained puts a name of its own into paths: torch.compile
// "_orig_mod", FSDP "_fsdp_wrapped_module". They are passed over wherever something follows them.
#pragma once

#include "llvm/ADT/StringRef.h"

#include <string>

namespace plait::adapters {

struct AdapterKey {
  std::string module; ///< the path of the module, relative to the model that was adapted
  /// "lora_A", "lora_B", "lora_B.bias", "lora_embedding_A" …; "" for a replaced parameter.
  std::string factor;
  std::string attribute; ///< of a replaced parameter: "weight"
  /// What keys of other tools say the part of a pipeline with: "lora_te1_", which is not in
  /// `module`, or "text_encoder", which may be the name of a module, and is.
  std::string part;
  /// Of a replaced parameter: the tensor is what is added to the base's.
  bool isDifference = false;
  bool flattened = false; ///< `module` has '_' where the path has '.'
  /// The name is one that diffusers alone gives, who reads a file without alphas with a scale of
  /// one. Where `part` says it, the model must not have a module of that name of its own.
  bool ofDiffusers = false;
};

/// What says of a file how its keys are to be read.
enum class KeyForm : uint8_t {
  Other, ///< no configuration: alphas are tensors
  Peft,  ///< PEFT's adapter_config.json, or diffusers' metadata
  Mlx    ///< MLX's adapter_config.json
};

AdapterKey parseAdapterKey(llvm::StringRef key, KeyForm form);

} // namespace plait::adapters
