// Which lines of a Python stack are PyTorch's own: people look for theirs.
#pragma once

#include "llvm/ADT/StringRef.h"

namespace plait {

/// Whether the file is of an installed PyTorch.
bool isTorchSource(llvm::StringRef file);

} // namespace plait
