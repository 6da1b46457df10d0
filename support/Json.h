// JSON as text, and text as JSON. Text is of files that nobody vouches for: nesting is bounded
// before LLVM's parser, which recurses, sees it, and no object may have two members of one name.
#pragma once

#include "support/Error.h"

#include "llvm/Support/JSON.h"
#include <optional>
#include <string>

namespace plait {

/// The value of `text`, which is nested at most 64 levels deep. Messages do not name the file.
Expected<llvm::json::Value> parseJson(llvm::StringRef text);

/// A whole number of 64 bits. LLVM's getAsInteger() takes 2^63 for one, which has no such form.
std::optional<int64_t> jsonInteger(const llvm::json::Value &value);

/// On one line, or on several that are indented by `indent`.
std::string jsonText(const llvm::json::Value &value, unsigned indent = 0);

} // namespace plait
