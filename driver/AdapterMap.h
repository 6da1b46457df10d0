// The side file of a package whose functions take adapters as inputs: which input stands for which
// tensor of a PEFT adapter.
//
//   {"functions": {NAME: [{"input": "layers_0_q_proj_lora_A",
//                          "key": "base_model.model.layers.0.q_proj.lora_A.weight",
//                          "shape": [4, 32], "dtype": "fp16"}, ...], ...}}
//
// `plait adapter pack` writes the arrays of another adapter of the same base from it.
#pragma once

#include "frontend/Frontend.h"

namespace plait::driver {

struct AdapterMap {
  std::vector<std::pair<std::string, std::vector<frontend::AdapterInput>>> functions;
};

Error writeAdapterMap(const AdapterMap &map, llvm::StringRef path);
Expected<AdapterMap> readAdapterMap(llvm::StringRef path);

/// The arrays of the adapter for a function of the side file at `path`; without a name for the only
/// one.
Expected<std::vector<frontend::PackedInput>>
packAdapter(llvm::StringRef adapter, llvm::StringRef path,
            const std::optional<std::string> &function);

} // namespace plait::driver
