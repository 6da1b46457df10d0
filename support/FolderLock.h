// Keeps two processes from changing one folder at a time.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/StringRef.h"
#include <utility>

namespace plait {

/// Held until it is destroyed, or the process ends in whatever way. Those who only read need none.
class FolderLock {
public:
  /// Fails where another process holds it.
  static Expected<FolderLock> take(llvm::StringRef folder);
  FolderLock(FolderLock &&other) noexcept : descriptor(std::exchange(other.descriptor, -1)) {}
  FolderLock &operator=(FolderLock &&) = delete;
  ~FolderLock();

private:
  explicit FolderLock(int descriptor) : descriptor(descriptor) {}
  int descriptor;
};

} // namespace plait
