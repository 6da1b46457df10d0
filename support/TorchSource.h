// Which lines of a Python stack are PyTorch's own, or plait's package's: people look for theirs.
#pragma once

#include "llvm/ADT/StringRef.h"

namespace plait {

/// Whether the file is of an installed PyTorch, or of the package plait, which calls the tracer.
bool isTorchSource(llvm::StringRef file);

} // namespace plait
