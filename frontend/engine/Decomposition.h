// Operators that are expressed by others, in TorchScript's language (decompositions/*.py). The
// engine knows no graph, so the walk over TorchScript runs them (script/Decomposition.cpp).
#pragma once

#include "frontend/engine/Engine.h"

namespace plait::frontend {

/// The result of a function of decompositions/ where the engine's builder stands; a tuple where it
/// returns several. `name` is the operator's, for messages. Poison after a problem.
Val runDecomposition(Engine &engine, llvm::StringRef function, const std::string &name,
                     std::vector<Val> arguments);

/// The same on LibTorch's values: what LibTorch itself computes.
c10::IValue computeDecomposition(llvm::StringRef function, std::vector<c10::IValue> arguments);

} // namespace plait::frontend
