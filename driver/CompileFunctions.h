// What compile and add take of functions: `--function a=a.pt --input … --base b.pt --adapter …`.
#pragma once

#include "driver/CommandLine.h"
#include "driver/Compiler.h"

namespace plait::driver {

/// Those that start a function, or name the model of the next.
extern const Option functionOption, baseOption, adapterOption, baseFunctionOption;
/// Those that belong to the one before them, or to all.
llvm::ArrayRef<const Option *> functionOptions();

bool startsFunction(const Option *option);

/// The functions, and what is said of all of them. The operand is the model of the only function,
/// or, of add, the package.
Expected<CompileOptions> fromFunctions(const Arguments &arguments);

} // namespace plait::driver
