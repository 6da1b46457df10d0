// What the inputs of a function with LoraMode::Inputs compute, where the shapes of an adapter's
// tensors do not show it: an adapter that has the same tensors and means something else by them is
// not packed for such a function.
#pragma once

#include "adapters/AdapterPlan.h"

namespace plait::adapters {

/// "LoRA", "(IA)3 of inputs" …
std::string inputKind(const AdaptedModule &module, const AdapterBranch &branch);

/// Whether the adapter's tensors in the module of that name are of the kind.
Expected<bool> isOfKind(llvm::StringRef kind, const std::optional<AdapterConfig> &config,
                        llvm::StringRef module, AdapterKind ofAdapter);

} // namespace plait::adapters
