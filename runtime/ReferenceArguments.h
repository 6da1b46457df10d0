// How a TorchScript model takes the inputs of its function, where they are not its arguments one by
// one: tuples, dictionaries, complex tensors and numbers are made of them.
#pragma once

#include "runtime/Reference.h"
#include "runtime/ReferenceTrace.h"

#include <functional>

namespace c10 {
struct IValue;
}

namespace plait::runtime {

/// Puts the arguments of the method in the place of the inputs as tensors.
using ArgumentBinder =
    std::function<Error(std::vector<c10::IValue> &arguments, llvm::ArrayRef<NamedTensor> inputs)>;

/// As without a binder; an empty one is none. Parameters that `pages` knows are given back while
/// the model runs.
Reference referenceOf(std::shared_ptr<torch::jit::Module> module, llvm::StringRef name,
                      ArgumentBinder bind, std::shared_ptr<WeightPages> pages);
ReferenceTracer tracerOf(std::shared_ptr<torch::jit::Module> module, llvm::StringRef name,
                         NodeDescriber describe, ArgumentBinder bind);

} // namespace plait::runtime
