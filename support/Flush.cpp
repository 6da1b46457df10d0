// fsync, and F_FULLFSYNC on systems where fsync stops at the drive's cache.
#include "support/Flush.h"

#include "support/Error.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace plait {

std::error_code flushDescriptor(int descriptor) {
#if defined(F_FULLFSYNC)
  // File systems without it (network shares) say so; fsync is all that they offer.
  if (::fcntl(descriptor, F_FULLFSYNC) == 0)
    return {};
#endif
  int result;
  do
    result = ::fsync(descriptor);
  while (result != 0 && errno == EINTR);
  // Some file systems cannot flush a folder and say EINVAL; nothing is lost then.
  if (result != 0 && errno != EINVAL)
    return lastError();
  return {};
}

std::error_code flushPath(const std::string &path) {
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    return lastError();
  std::error_code result = flushDescriptor(descriptor);
  ::close(descriptor);
  return result;
}

} // namespace plait
