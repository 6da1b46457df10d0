// JSON as text, and text as JSON. Text is of files that nobody vouches for: nesting is bounded
// before LLVM's parser, which recurses, sees it, and no object may have two members of one name.
#pragma once

#include "support/Error.h"

#include "llvm/Support/JSON.h"
#include <string>

namespace plait {

/// The value of `text`, which is nested at most 64 levels deep. Messages do not name the file.
Expected<llvm::json::Value> parseJson(llvm::StringRef text);

/// On one line, or on several that are indented by `indent`.
std::string jsonText(const llvm::json::Value &value, unsigned indent = 0);

} // namespace plait
