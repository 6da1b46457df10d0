// Which constants of a program are the matrices of low-rank adapters, told by what they are used
// for: a package does not say.
#pragma once

#include "passes/Pass.h"

#include "llvm/ADT/DenseSet.h"

namespace plait::passes {

/// The consts that the two layers of a LoRA branch (LoraMatch.h) have as weights, where the sum
/// also has a layer whose weight has the shape of their product. A branch that is folded is part of
/// its base. The base may be compressed. A bottleneck of the model beside a layer of its own shape
/// looks the same.
llvm::DenseSet<const mil::Op *> adapterWeights(mil::Program &program, PassContext &context);

} // namespace plait::passes
