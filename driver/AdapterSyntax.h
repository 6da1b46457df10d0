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

/// A number of --lora-scale or --lora-alpha.
Expected<adapters::GivenScale> parseScale(bool isAlpha, llvm::StringRef text);
/// Gives it to each adapter.
void setScale(std::vector<adapters::AdapterSpec> &adapters,
              const std::optional<adapters::GivenScale> &scale);

/// Only functions with adapters can have inputs for them: an error where that is chosen for one
/// without. What is chosen for the whole package is no matter to it.
Error checkLora(const FunctionOptions &function);

} // namespace plait::driver
