// The model that a function was made from, run by LibTorch itself as it was saved.
#pragma once

#include "runtime/Runner.h"

namespace torch::jit {
struct Module;
}

namespace plait::runtime {

/// What verification holds a function against: outputs in order for inputs in order.
using Reference =
    std::function<Expected<std::vector<mil::TensorData>>(llvm::ArrayRef<NamedTensor> inputs)>;

/// Loads a TorchScript file. Half-precision parameters and inputs are computed in fp32. int32
/// inputs are given as int64, and again as int32 or bool if the model refuses them. Tuples, lists
/// and dictionaries of tensors are flattened in order; numbers count as tensors without dimensions.
Expected<Reference> loadReference(llvm::StringRef path);
/// The same of a model that is loaded, in evaluation mode and fp32; messages call it `name`.
Reference referenceOf(std::shared_ptr<torch::jit::Module> module, llvm::StringRef name);

} // namespace plait::runtime
