// What `plait remove` does: functions leave a package.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/StringRef.h"
#include <functional>
#include <string>
#include <vector>

namespace plait::driver {

struct RemoveOptions {
  std::string package;
  std::vector<std::string> functions; ///< may be none where `compact` is all that is wanted
  std::string defaultFunction{};      ///< the new default; "" leaves it as it is
  /// Writes the package anew, without the weights that no function uses any more.
  bool compact = false;
  unsigned threads = 0; ///< for writing weights; 0: one a processor
  bool dryRun = false;  ///< as CompileOptions::dryRun
  std::function<void(const Warning &)> warn = [](const Warning &) {};
};

/// What is left of the package.
struct RemoveReport {
  std::vector<std::string> functions;
  uint64_t fileBytes = 0; ///< of all weight files
  uint64_t usedBytes = 0; ///< of the weights that functions use
};

/// On error the package is as it was, but for functions that are out where compacting failed.
Expected<RemoveReport> remove(const RemoveOptions &options);

} // namespace plait::driver
