// Operators that torch.ao.quantization and torchao register from Python, for a LibTorch that has
// loaded neither: their schemas, without which no model that calls them can be read, and kernels,
// which are the functions of decompositions/quantized.py.
#pragma once

#include "llvm/ADT/StringRef.h"

namespace plait::frontend {

/// Declares those that LibTorch does not know. Whoever loads these libraries into this process does
/// so before: they cannot declare their operators again.
void declareQuantizedOperators();

/// Whether a namespace, or LibTorch's message that it lacks an operator, is of these libraries.
bool isOfQuantizedOperators(llvm::StringRef text);

} // namespace plait::frontend
