// What every command says of a file that cannot be read.
#pragma once

#include "support/Error.h"

namespace plait::driver {

/// The system's words, and where nothing is there, what lies beside it under a name like that.
Error unreadable(llvm::StringRef path, std::error_code why);

} // namespace plait::driver
