// The side file of a package whose functions take adapters as inputs: which input stands for which
// tensor of a PEFT adapter.
//
//   {"functions": {NAME: [{"input": "layers_0_q_proj_lora_A",
//                          "key": "base_model.model.layers.0.q_proj.lora_A.weight",
//                          "kind": "LoRA", "shape": [4, 32], "dtype": "fp16"}, ...], ...}}
//
// `plait adapter pack` writes the arrays of another adapter of the same base from it.
#pragma once

#include "adapters/Adapter.h"
#include "mil/IR.h"

#include <map>

namespace plait::driver {

struct AdapterMap {
  std::map<std::string, std::vector<adapters::AdapterInput>> functions;
};

using Warn = llvm::function_ref<void(const Warning &)>;

/// Where the side file of a package lies: OUT.adapter.json beside OUT.mlpackage; beside the package
/// that a link leads to, where `package` is one.
std::string adapterMapPath(llvm::StringRef package);

/// An error where something other than a side file lies there.
Error checkAdapterMap(llvm::StringRef package);

/// Whether the function has all `inputs` of its entry in the side file of `package`; warns where it
/// does not, as after an interruption between the package and its side file.
bool fits(llvm::ArrayRef<adapters::AdapterInput> inputs, const mil::Function &function,
          llvm::StringRef package, Warn warn);

Expected<AdapterMap> readAdapterMap(llvm::StringRef path);
/// The side file of a package; empty where it has none.
Expected<AdapterMap> adapterMapOf(llvm::StringRef package);

/// The arrays of the adapter for a function of the side file at `path`; without a name for the only
/// one.
Expected<std::vector<adapters::PackedInput>>
packAdapter(const adapters::AdapterSpec &adapter, llvm::StringRef path,
            const std::optional<std::string> &function);

} // namespace plait::driver
