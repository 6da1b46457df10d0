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

enum class LoraChoice : uint8_t { Keep, Fold, Inputs };
/// "keep", "fold" or "inputs".
std::optional<LoraChoice> parseLoraChoice(llvm::StringRef text);
/// Sets the choice for a function. Only functions with adapters can have inputs for them. For one
/// without, the choice is an error if it was made for that function (`forOne`), and ignored if it
/// was made for all.
Error setLora(FunctionOptions &function, LoraChoice choice, bool forOne);

} // namespace plait::driver
