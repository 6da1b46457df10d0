// How the command line and recipes write adapters and what becomes of them.
//
//   adapters := path | part ('+' part)*
//   part     := path ':' weight
//
// A colon that no number follows belongs to the path.
#pragma once

#include "driver/Compiler.h"

namespace plait::driver {

Expected<std::vector<adapters::AdapterSpec>> parseAdapters(llvm::StringRef text);

/// Only functions with adapters can have inputs for them: an error where that is chosen for one
/// without. What is chosen for the whole package is no matter to it.
Error checkLora(const FunctionOptions &function);

} // namespace plait::driver
