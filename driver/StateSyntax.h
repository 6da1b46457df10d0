// How states are declared in text, on the command line, in recipes and in the C++ API alike.
//
//   states := 'auto' | 'none' | state
//   state  := NAME '=' ('fp16' shape? | 'input' | 'none')
//   shape  := '[' size (',' size)* ']'
//
//   auto                             a state of every tensor of the model that forward writes
//   none                             each call begins with what the model holds
//   k_cache=fp16[1, 8, 512, 64]      this one; its name is its path in the model
//   position=input                   an input and an output, which the app hands on
//   scratch=none                     each call begins with what the model holds of this one
#pragma once

#include "frontend/Frontend.h"
#include "support/Error.h"

namespace plait::driver {

/// Adds what one text says.
Error addStates(frontend::StatesRequest &request, llvm::StringRef text);
/// The texts that say `request`, but for its `inputs`.
std::vector<std::string> statesTexts(const frontend::StatesRequest &request);

} // namespace plait::driver
