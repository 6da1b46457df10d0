// A lock on the open folder itself.
#include "support/FolderLock.h"

#include "llvm/Support/FileSystem.h"

namespace plait {

Expected<FolderLock> FolderLock::take(llvm::StringRef folder) {
  llvm::ErrorOr<FileLock> opened = FileLock::open(folder, FileLock::Links::Follow);
  if (!opened)
    return makeError(Code::FileUnreadable, "cannot open '{0}': {1}", folder,
                     opened.getError().message());
  FolderLock lock(folder, std::move(*opened));
  llvm::ErrorOr<FileLock::Result> result = lock.lock.take();
  if (!result)
    return makeError(Code::FileUnreadable, "cannot lock '{0}': {1}", folder,
                     result.getError().message());
  if (*result == FileLock::Result::HeldElsewhere)
    return lock.isTaken();
  // Another folder may have taken this one's place since it was opened. A file system without locks
  // is used without.
  if (Error error = lock.check())
    return error;
  return lock;
}

Expected<std::optional<FolderLock>> FolderLock::takeIfThere(llvm::StringRef folder) {
  if (!llvm::sys::fs::exists(folder))
    return std::nullopt;
  auto lock = take(folder);
  if (!lock)
    return lock.takeError();
  return std::move(*lock);
}

Error FolderLock::check() const { return lock.isAt(folder) ? Error::success() : isTaken(); }

Error FolderLock::isTaken() const {
  return makeError(Code::FileBusy,
                   "'{0}' is being changed by another process; try again when that is done",
                   folder);
}

} // namespace plait
