// What is declared of the arguments of one function, text by text: inputs, and what is no input
// since it is the same in every call.
#pragma once

#include "driver/InputSyntax.h"

namespace plait::driver {

/// Adds what `text` declares, "x=[1, 8]" or "scale=2.0", to the function's inputs or constants.
Error addDeclaration(frontend::ModelFunction &function, llvm::StringRef text,
                     const InputSyntax &syntax = {});

/// Gives sizes that are called by a name alone the range that another input says of it. An error
/// where none does, or two say different ones.
Error resolveSizes(std::vector<frontend::InputSpec> &inputs);

/// What is said of several functions, where nothing else is said of this one: all inputs, where it
/// has none of its own, and each constant.
void inheritDeclarations(frontend::ModelFunction &function, const frontend::ModelFunction &common);

} // namespace plait::driver
