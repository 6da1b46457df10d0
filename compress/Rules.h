// Which weights a rule means.
#pragma once

#include "compress/Program.h"

namespace plait::compress {

enum class Fit : uint8_t {
  None,
  Kind, ///< it is one of those that the rule means
  Name, ///< the rule is its name
};

/// `names` are the weight's: its parameter's paths and its constants'; `operations` are the kinds
/// of its users.
Fit fitOf(const Rule &rule, llvm::ArrayRef<std::string> names,
          llvm::ArrayRef<llvm::StringRef> operations, bool ofAdapter);

} // namespace plait::compress
