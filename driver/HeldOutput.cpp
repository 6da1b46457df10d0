// Checked first, so that a mistake is not taken for a package in use.
#include "driver/HeldOutput.h"

#include "driver/Compiler.h"

namespace plait::driver {

Expected<std::optional<FolderLock>> holdOutput(llvm::StringRef path) {
  if (Error error = checkOutput(path))
    return error;
  return FolderLock::takeIfThere(path);
}

} // namespace plait::driver
