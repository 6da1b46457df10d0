// A temporary file whose name is removed as soon as it is open.
#include "support/ScratchFile.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/Path.h"

#include <cerrno>
#include <unistd.h>
#include <utility>

namespace plait {

namespace fs = llvm::sys::fs;

Expected<ScratchFile> ScratchFile::create(llvm::StringRef target) {
  llvm::SmallString<256> model(llvm::sys::path::parent_path(target.rtrim('/'))), path;
  llvm::sys::path::append(model, ".scratch.%%%%%%%%%%%%.plait");
  int descriptor = -1;
  if (std::error_code ec = fs::createUniqueFile(model, descriptor, path))
    return makeError(Code::FileUnwritable, "cannot make a temporary file beside '{0}': {1}", target,
                     ec.message());
  fs::remove(path);
  return ScratchFile(descriptor, path.str().str());
}

ScratchFile::ScratchFile(ScratchFile &&other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)),
      size_(other.size_) {}

ScratchFile::~ScratchFile() {
  if (descriptor_ >= 0)
    ::close(descriptor_);
}

Error ScratchFile::append(llvm::ArrayRef<uint8_t> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return makeError(Code::FileUnwritable, "cannot write to the temporary file '{0}': {1}", path_,
                       std::generic_category().message(errno));
    bytes = bytes.drop_front(size_t(written));
    size_ += uint64_t(written);
  }
  return Error::success();
}

Expected<std::shared_ptr<const MappedFile>> ScratchFile::map() {
  return MappedFile::map(descriptor_, path_);
}

} // namespace plait
