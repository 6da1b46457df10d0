// Temporary folders and files: what exists on the disk only while work is under way. A signal ends
// the process without running destructors, so these are removed first.
//
// One lock guards making and finishing them. While a signal removes them, nothing new begins, and
// nothing half-removed is put in place.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <mutex>
#include <string>

namespace plait {

class Unfinished {
public:
  /// Runs `make`, which makes the file or folder `path`, and remembers it when that succeeds.
  static std::error_code begin(const std::string &path, llvm::function_ref<std::error_code()> make);
  /// Runs `finish`, which puts `path` in place (or removes it), and forgets it when that succeeds.
  static std::error_code end(const std::string &path, llvm::function_ref<std::error_code()> finish);

  /// Removes all that is unfinished. Callable from any thread; nothing is begun or ended while the
  /// result lives.
  [[nodiscard]] static std::unique_lock<std::mutex> removeAll();
};

} // namespace plait
