// What the exit status of the command says: one table, for the code, the help, the man page and
// docs/command.md.
#pragma once

#include "llvm/ADT/ArrayRef.h"

namespace plait::driver {

/// What commands return.
enum ExitStatus : int { kDone = 0, kFailed = 1, kMisused = 2 };

struct ExitStatusInfo {
  const char *status; ///< a number, or a sum with the number of a signal
  const char *meaning;
};

/// Ascending.
llvm::ArrayRef<ExitStatusInfo> exitStatuses();

} // namespace plait::driver
