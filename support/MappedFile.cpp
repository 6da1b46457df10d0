// Read-only file mappings and the release of their pages.
#include "support/MappedFile.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Process.h"
#include <algorithm>
#include <sys/mman.h>

namespace fs = llvm::sys::fs;

namespace plait {

Expected<std::shared_ptr<const MappedFile>> MappedFile::open(const llvm::Twine &path,
                                                             Access access) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->name = path.str();

  llvm::Expected<fs::file_t> handle = fs::openNativeFileForRead(file->name);
  if (!handle)
    return makeError("cannot open '{0}': {1}", file->name, llvm::toString(handle.takeError()));
  struct Closer {
    fs::file_t handle;
    ~Closer() { fs::closeFile(handle); }
  } closer{*handle};

  fs::file_status status;
  if (std::error_code ec = fs::status(*handle, status))
    return makeError("cannot open '{0}': {1}", file->name, ec.message());
  if (status.type() != fs::file_type::regular_file)
    return makeError("cannot open '{0}': it is not a regular file", file->name);
  file->size = status.getSize();
  file->identity = status.getUniqueID();
  file->releasable = access == Access::ReadOnly;
  if (file->size == 0)
    return file;

  std::error_code ec;
  file->region = fs::mapped_file_region(
      *handle,
      access == Access::ReadOnly ? fs::mapped_file_region::readonly : fs::mapped_file_region::priv,
      file->size, 0, ec);
  if (ec)
    return makeError("cannot map '{0}' into memory: {1}", file->name, ec.message());
  file->data = reinterpret_cast<const uint8_t *>(file->region.const_data());
  return file;
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
