// Positioned writes with complete error reports (a full disk is noticed at the write that fills
// it).
#include "support/OutputFile.h"
#include "support/Flush.h"
#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>

namespace plait {

static Expected<int> openForWriting(const std::string &name, int flags) {
  int descriptor;
  do
    descriptor = ::open(name.c_str(), O_WRONLY | O_CLOEXEC | flags, 0666);
  while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0)
    return makeError(Code::FileUnwritable, "cannot write '{0}': {1}", name,
                     std::generic_category().message(errno));
  return descriptor;
}

Expected<OutputFile> OutputFile::create(const llvm::Twine &path) {
  std::string name = path.str();
  Expected<int> descriptor = openForWriting(name, O_CREAT | O_EXCL | O_NOFOLLOW);
  if (!descriptor)
    return descriptor.takeError();
  return OutputFile(std::move(name), *descriptor);
}

Expected<OutputFile> OutputFile::openExisting(const llvm::Twine &path) {
  std::string name = path.str();
  Expected<int> descriptor = openForWriting(name, 0);
  if (!descriptor)
    return descriptor.takeError();
  return OutputFile(std::move(name), *descriptor);
}

OutputFile::OutputFile(OutputFile &&other) noexcept
    : name(std::move(other.name)), descriptor(std::exchange(other.descriptor, -1)) {}

OutputFile &OutputFile::operator=(OutputFile &&other) noexcept {
  std::swap(name, other.name);
  std::swap(descriptor, other.descriptor);
  return *this;
}

OutputFile::~OutputFile() {
  if (descriptor >= 0)
    ::close(descriptor);
}

Error OutputFile::systemError(const char *what) const {
  return makeError(Code::FileUnwritable, "cannot {0} '{1}': {2}", what, name,
                   std::generic_category().message(errno));
}

Error OutputFile::writeAt(uint64_t offset, llvm::ArrayRef<uint8_t> bytes) const {
  while (!bytes.empty()) {
    // Some systems refuse counts of 2 GiB and above in one call.
    size_t count = std::min<size_t>(bytes.size(), size_t(1) << 30);
    ssize_t written = ::pwrite(descriptor, bytes.data(), count, off_t(offset));
    if (written < 0) {
      if (errno == EINTR)
        continue;
      return systemError("write");
    }
    bytes = bytes.drop_front(size_t(written));
    offset += uint64_t(written);
  }
  return Error::success();
}

Error OutputFile::resize(uint64_t size) const {
  if (::ftruncate(descriptor, off_t(size)) != 0)
    return systemError("write");
  return Error::success();
}

Error OutputFile::flush() const {
  if (std::error_code ec = flushDescriptor(descriptor))
    return makeError(Code::FileUnwritable, "cannot flush '{0}': {1}", name, ec.message());
  return Error::success();
}

Error OutputFile::close() {
  if (descriptor >= 0 && ::close(std::exchange(descriptor, -1)) != 0 && errno != EINTR)
    return systemError("write");
  return Error::success();
}

} // namespace plait
