// How the command line and recipes write adapters and what becomes of them.
//
//   adapters := path | part ('+' part)*
//   part     := path ':' weight
//
// A colon that no number follows belongs to the path.
#pragma once

#include "driver/Compiler.h"

namespace plait::driver {

Expected<std::vector<frontend::AdapterSpec>> parseAdapters(llvm::StringRef text);

enum class LoraChoice : uint8_t { Keep, Fold, Inputs };
/// "keep", "fold" or "inputs".
std::optional<LoraChoice> parseLoraChoice(llvm::StringRef text);
/// What the choice means for a function. Inputs are of functions with adapters alone: an error,
/// where it was said of this one function, else the function keeps what it has.
Error setLora(FunctionOptions &function, LoraChoice choice, bool forOne);

} // namespace plait::driver
