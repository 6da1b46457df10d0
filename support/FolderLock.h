// Keeps two processes from changing one folder at a time.
#pragma once

#include "support/FileLock.h"

#include <optional>
#include <string>

namespace plait {

/// Held until it is destroyed, or the process ends in whatever way. Those who only read need none.
class FolderLock {
public:
  /// Fails where another process holds it.
  static Expected<FolderLock> take(llvm::StringRef folder);
  /// The same where there is such a folder; nothing where there is none.
  static Expected<std::optional<FolderLock>> takeIfThere(llvm::StringRef folder);
  /// Fails where another folder has taken the place of the one that is held.
  Error check() const;

private:
  FolderLock(llvm::StringRef folder, FileLock lock) : folder(folder), lock(std::move(lock)) {}
  Error isTaken() const;

  std::string folder;
  FileLock lock;
};

} // namespace plait
