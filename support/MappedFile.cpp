// Read-only file mappings and the release of their pages.
#include "support/MappedFile.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Process.h"
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
  uintptr_t begin = reinterpret_cast<uintptr_t>(range.data());
  uintptr_t end = begin + range.size();
  // The last page of the file belongs to nobody else, although the range may end inside it.
  end = range.data() + range.size() == data + size ? llvm::alignTo(end, page)
                                                   : llvm::alignDown(end, page);
  begin = llvm::alignTo(begin, page);
  if (begin < end)
    ::madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
}

} // namespace plait
