// Read-only file mappings and the release of their pages.
#include "support/MappedFile.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Process.h"
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

namespace fs = llvm::sys::fs;

namespace plait {

/// Where a file is mapped. Places are reused and never freed, so that a handler of a signal may go
/// through them whatever is being done to them.
struct MappedFile::Place {
  std::atomic<const char *> path = nullptr; ///< null where the place is free
  std::atomic<uintptr_t> begin = 0, end = 0;
  Place *next = nullptr;

  static std::atomic<Place *> first;
  static Place *take(const char *path, llvm::ArrayRef<uint8_t> bytes) {
    static std::mutex mutex;
    std::lock_guard guard(mutex);
    Place *place = first;
    while (place && place->path)
      place = place->next;
    bool isNew = !place;
    if (isNew) {
      place = new Place;
      place->next = first;
    }
    place->begin = reinterpret_cast<uintptr_t>(bytes.begin());
    place->end = reinterpret_cast<uintptr_t>(bytes.end());
    place->path = path;
    if (isNew)
      first = place;
    return place;
  }
};

std::atomic<MappedFile::Place *> MappedFile::Place::first = nullptr;

const char *MappedFile::fileAt(const void *address) noexcept {
  auto where = reinterpret_cast<uintptr_t>(address);
  for (Place *place = Place::first; place; place = place->next)
    if (const char *path = place->path; path && place->begin <= where && where < place->end)
      return path;
  return nullptr;
}

Expected<std::shared_ptr<const MappedFile>> MappedFile::open(const llvm::Twine &path,
                                                             Access access) {
  std::string name = path.str();
  // A pipe is opened at once, and found to be one.
  int descriptor;
  do
    descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0)
    return makeError(Code::FileUnreadable, "cannot open '{0}': {1}", name, lastError().message());
  auto result = map(descriptor, name, access);
  ::close(descriptor);
  return result;
}

Expected<std::shared_ptr<const MappedFile>> MappedFile::map(int descriptor, const llvm::Twine &path,
                                                            Access access) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->name = path.str();
  fs::file_status status;
  if (std::error_code ec = fs::status(descriptor, status))
    return makeError(Code::FileUnreadable, "cannot open '{0}': {1}", file->name, ec.message());
  if (status.type() != fs::file_type::regular_file)
    return makeError(Code::FileUnreadable, "cannot open '{0}': it is not a regular file",
                     file->name);
  file->size = status.getSize();
  file->identity = status.getUniqueID();
  file->written = status.getLastModificationTime();
  file->releasable = access == Access::ReadOnly;
  if (file->size == 0)
    return file;

  std::error_code ec;
  file->region = fs::mapped_file_region(
      fs::file_t(descriptor),
      access == Access::ReadOnly ? fs::mapped_file_region::readonly : fs::mapped_file_region::priv,
      file->size, 0, ec);
  if (ec)
    return makeError(Code::FileUnreadable, "cannot map '{0}' into memory: {1}", file->name,
                     ec.message());
  file->data = reinterpret_cast<const uint8_t *>(file->region.const_data());
  file->place = Place::take(file->name.c_str(), file->bytes());
  return file;
}

MappedFile::~MappedFile() {
  if (place)
    place->path = nullptr;
}

Error MappedFile::checkUnchanged() const {
  fs::file_status status;
  if (fs::status(name, status) || status.getUniqueID() != identity ||
      (status.getSize() == size && status.getLastModificationTime() == written))
    return Error::success();
  return makeError(Code::FileBusy,
                   "'{0}' changed while it was read; start again once nobody writes to it", name);
}

void MappedFile::release(llvm::ArrayRef<uint8_t> range) const {
  if (!releasable || range.empty() || !contains(range))
    return;
  static const uintptr_t page = llvm::sys::Process::getPageSizeEstimate();
  // A fault brings in the pages around it too. They go as well: the worst is that a neighbour is
  // read again, while small tensors, which fill no page alone, would otherwise never be given back.
  constexpr uintptr_t window = 64 * 1024;
  uintptr_t first = reinterpret_cast<uintptr_t>(data), last = llvm::alignTo(first + size, page);
  uintptr_t begin = reinterpret_cast<uintptr_t>(range.data()), end = begin + range.size();
  begin = std::max(first, uintptr_t(llvm::alignDown(begin, window)));
  end = std::min(last, uintptr_t(llvm::alignTo(end, window)));
  ::madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
}

} // namespace plait
