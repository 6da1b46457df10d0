// An advisory lock on a file or folder that is open, so that no lock file is left behind.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/StringRef.h"
#include <memory>

namespace plait {

/// Held until it is destroyed, or the process ends in whatever way. A forked child does not hold
/// it, whichever of the two lives longer.
class FileLock {
public:
  enum class Result {
    Taken,
    HeldElsewhere, ///< by another process, or by another FileLock of this one
    NoLocks,       ///< the file system has none (some network shares)
  };
  enum class Links { Follow, Refuse };

  /// Opens what is at `path`; of an error nobody is told but by its code.
  static llvm::ErrorOr<FileLock> open(llvm::StringRef path, Links links);
  /// Takes the lock if that is possible at once.
  llvm::ErrorOr<Result> take();
  /// Whether `path` still leads to what is open here.
  bool isAt(llvm::StringRef path) const;
  /// Of what is open.
  int descriptor() const { return *handle; }

private:
  struct Release {
    void operator()(int *handle) const;
  };
  explicit FileLock(int descriptor);

  /// Behind a pointer that stays the same, for a forked child to close it.
  std::unique_ptr<int, Release> handle;
};

} // namespace plait
