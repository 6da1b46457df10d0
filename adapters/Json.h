// JSON from files that nobody vouches for: nesting is bounded before LLVM's parser, which recurses,
// sees the text, and no object may have two members of one name.
#pragma once

#include "support/Error.h"

#include "llvm/Support/JSON.h"

namespace plait::adapters {

/// The value of `text`, which is nested at most 64 levels deep. Messages do not name the file.
Expected<llvm::json::Value> parseJson(llvm::StringRef text);

} // namespace plait::adapters
