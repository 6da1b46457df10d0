// torchvision's operators for a LibTorch that has not loaded torchvision: their schemas, without
// which no model that calls them can be read, and plain kernels, by which such a model is verified.
#pragma once

#include "llvm/ADT/StringRef.h"

namespace plait::frontend {

/// Declares those that LibTorch does not know; does nothing where torchvision itself is loaded.
/// Whoever loads torchvision into this process does so before: it cannot declare them again.
void declareVisionOperators();

/// Whether LibTorch's message says that it lacks one of them.
bool lacksVisionOperator(llvm::StringRef message);

} // namespace plait::frontend
