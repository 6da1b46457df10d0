// The modules of a TorchScript model, without LibTorch: paths, parameters, and what each computes
// with its weight, which is found in its code.
#pragma once

#include "mil/ModuleTree.h"

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <functional>

namespace plait::frontend {

/// `storageOf` gives the memory behind a tensor; null where it is not the model's own.
/// `originOf` gives all names of a tensor.
mil::ModuleTree describeModules(
    const torch::jit::Module &root,
    llvm::function_ref<std::shared_ptr<const mil::Storage>(const at::Tensor &)> storageOf,
    llvm::function_ref<mil::Origin(const at::Tensor &)> originOf);

} // namespace plait::frontend
