// JSON as text.
#pragma once

#include "llvm/Support/JSON.h"
#include <string>

namespace plait {

/// On one line, or on several that are indented by `indent`.
std::string jsonText(const llvm::json::Value &value, unsigned indent = 0);

} // namespace plait
