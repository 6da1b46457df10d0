// flock. A forked child shares the parent's locks by its copies of the descriptors, so it closes
// them before it does anything else; the parent says LOCK_UN, whatever else has a copy.
#include "support/FileLock.h"

#include <cerrno>
#include <fcntl.h>
#include <mutex>
#include <pthread.h>
#include <set>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace plait {

namespace {

/// The descriptors of all locks, never destroyed: a process may fork while it ends.
struct OpenLocks {
  std::mutex mutex;
  std::set<int *> handles;

  static OpenLocks &get() {
    static OpenLocks *instance = [] {
      auto *made = new OpenLocks;
      ::pthread_atfork([] { get().mutex.lock(); }, [] { get().mutex.unlock(); },
                       [] {
                         for (int *handle : get().handles)
                           ::close(std::exchange(*handle, -1));
                         get().handles.clear();
                         get().mutex.unlock();
                       });
      return made;
    }();
    return *instance;
  }
};

} // namespace

FileLock::FileLock(int descriptor) : handle(new int(descriptor)) {
  OpenLocks &locks = OpenLocks::get();
  std::lock_guard guard(locks.mutex);
  locks.handles.insert(handle.get());
}

void FileLock::Release::operator()(int *handle) const {
  {
    OpenLocks &locks = OpenLocks::get();
    std::lock_guard guard(locks.mutex);
    locks.handles.erase(handle);
  }
  if (*handle >= 0) {
    ::flock(*handle, LOCK_UN);
    ::close(*handle);
  }
  delete handle;
}

llvm::ErrorOr<FileLock> FileLock::open(llvm::StringRef path, Links links) {
  // A FIFO is opened at once too.
  int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (links == Links::Refuse ? O_NOFOLLOW : 0);
  int descriptor;
  do
    descriptor = ::open(path.str().c_str(), flags);
  while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0)
    return lastError();
  return FileLock(descriptor);
}

llvm::ErrorOr<FileLock::Result> FileLock::take() {
  if (::flock(*handle, LOCK_EX | LOCK_NB) == 0)
    return Result::Taken;
  if (errno == EWOULDBLOCK)
    return Result::HeldElsewhere;
  if (errno == ENOTSUP || errno == ENOLCK || errno == ENOSYS)
    return Result::NoLocks;
  return lastError();
}

bool FileLock::isAt(llvm::StringRef path) const {
  struct stat here, there;
  return ::fstat(*handle, &here) == 0 && ::stat(path.str().c_str(), &there) == 0 &&
         here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

} // namespace plait
