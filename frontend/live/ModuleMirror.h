// The parameters, buffers and submodules of a live torch::nn::Module under their names in a
// torch::jit::Module: what the tracer takes as `self`. Tensors are shared, nothing is copied.
#pragma once

#include "llvm/ADT/STLFunctionalExtras.h"

#include <torch/csrc/jit/api/module.h>

namespace torch::nn {
class Module;
}

namespace plait::frontend {

/// A module without methods; an empty one for null. A submodule that is registered under several
/// names is one object here too. `each` is called before each submodule, and may throw: LibTorch
/// takes the longer for one the more there are.
torch::jit::Module mirror(const torch::nn::Module *module, llvm::function_ref<void()> each);

} // namespace plait::frontend
