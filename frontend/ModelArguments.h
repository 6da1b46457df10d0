// The arguments of a model's forward from the inputs of its function. No LibTorch type appears
// here.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/ArrayRef.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace c10 {
struct IValue;
}
namespace torch::jit {
struct Module;
}

namespace plait::frontend {

/// Puts the arguments in the place of tensors, one for each input of the function that was made
/// from the module: tuples, dictionaries, complex tensors and numbers are made of them. `names` are
/// the inputs' own. `constants` are what other arguments are, as texts (Constant.h). Throws what
/// LibTorch throws.
using ArgumentMaker =
    std::function<Error(std::vector<c10::IValue> &arguments, llvm::ArrayRef<std::string> names)>;
ArgumentMaker argumentMaker(std::shared_ptr<torch::jit::Module> module,
                            std::map<std::string, std::string> constants);

} // namespace plait::frontend
