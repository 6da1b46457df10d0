// An advisory lock on the open folder itself, so that no lock file is left behind.
#include "support/FolderLock.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace plait {

Expected<FolderLock> FolderLock::take(llvm::StringRef folder) {
  int descriptor = ::open(folder.str().c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    return makeError("cannot open '{0}': {1}", folder, std::generic_category().message(errno));
  FolderLock lock(folder, descriptor);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return lock.isTaken();
    // A file system without locks (some network shares) is used without.
    if (errno != ENOTSUP && errno != ENOLCK && errno != ENOSYS)
      return makeError("cannot lock '{0}': {1}", folder, std::generic_category().message(errno));
  }
  // Another folder may have taken this one's place since it was opened.
  if (Error error = lock.check())
    return error;
  return lock;
}

Error FolderLock::check() const {
  struct stat here, there;
  if (::fstat(descriptor, &here) != 0 || ::stat(folder.c_str(), &there) != 0 ||
      here.st_dev != there.st_dev || here.st_ino != there.st_ino)
    return isTaken();
  return Error::success();
}

Error FolderLock::isTaken() const {
  return makeError("'{0}' is being changed by another process; try again when that is done",
                   folder);
}

FolderLock::~FolderLock() {
  if (descriptor >= 0)
    ::close(descriptor);
}

} // namespace plait
