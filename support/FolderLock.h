// Keeps two processes from changing one folder at a time.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/StringRef.h"
#include <string>
#include <utility>

namespace plait {

/// Held until it is destroyed, or the process ends in whatever way. Those who only read need none.
class FolderLock {
public:
  /// Fails where another process holds it.
  static Expected<FolderLock> take(llvm::StringRef folder);
  /// Fails where another folder has taken the place of the one that is held.
  Error check() const;
  FolderLock(FolderLock &&other) noexcept
      : folder(std::move(other.folder)), descriptor(std::exchange(other.descriptor, -1)) {}
  FolderLock &operator=(FolderLock &&) = delete;
  ~FolderLock();

private:
  FolderLock(llvm::StringRef folder, int descriptor) : folder(folder), descriptor(descriptor) {}
  Error isTaken() const;

  std::string folder;
  int descriptor;
};

} // namespace plait
