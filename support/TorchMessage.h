// What LibTorch says when it fails, as plait passes it on. A failed check of LibTorch's own insides
// asks its reader to report a bug to PyTorch; plait's user has called nothing of PyTorch, so what
// is left of it is what was expected.
#pragma once

#include "llvm/ADT/StringRef.h"

#include <string>

namespace plait {

/// `Expected Tensor but got Int INTERNAL ASSERT FAILED at "….h":93, please report a bug to PyTorch.
/// more` becomes `LibTorch cannot do this (more)`; every other text stays as it is.
std::string torchMessage(llvm::StringRef text);

} // namespace plait
