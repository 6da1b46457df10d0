// The place of a package that is written after others were read.
#pragma once

#include "support/FolderLock.h"

namespace plait::driver {

/// Checks the output's place and locks the package that is there, if one is. It may be one of those
/// that are read: what another process did to it between reading and writing would be lost.
Expected<std::optional<FolderLock>> holdOutput(llvm::StringRef path);

} // namespace plait::driver
