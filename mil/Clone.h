// A copy of a function, to be changed without the original. Types, names and constants are shared:
// a copy takes memory for its operations alone.
#pragma once

#include "mil/IR.h"

namespace plait::mil {

/// Adds a copy of `original`, which may be of another program, to `program`.
Function *cloneFunction(Program &program, const Function &original, llvm::StringRef name);

} // namespace plait::mil
