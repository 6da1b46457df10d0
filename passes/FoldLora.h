// Folding adapters into a base that is compressed already.
#pragma once

#include "passes/Pass.h"

namespace plait::passes {

/// fold-lora, but weights that branches are merged into may be compressed: they are decompressed,
/// for who compresses the sums.
bool foldLoraDecompressing(mil::Program &program, PassContext &context);

} // namespace plait::passes
