// One checksum a record, and one pass over all.
#include "frontend/archive/RecordCheck.h"

#include "mil/RecordChecksum.h"

#include "llvm/ADT/StringExtras.h"

namespace plait {

Error checkRecords(const std::shared_ptr<const MappedFile> &file, const ZipDirectory &directory) {
  std::vector<std::shared_ptr<mil::RecordChecksum>> records;
  for (const ZipRecord &record : directory.records()) {
    if (record.compressed)
      continue;
    llvm::ArrayRef<uint8_t> bytes = file->bytes().slice(record.offset, record.size);
    records.push_back(std::make_shared<mil::RecordChecksum>(
        fmt::format("{0}: record '{1}'", file->path(), record.name), bytes, record.crc32,
        [file, bytes](size_t offset, size_t size) { file->release(bytes.slice(offset, size)); }));
    records.back()->want();
  }
  return mil::RecordChecksum::checkAll(records, /*threads=*/0);
}

Error checkRecords(llvm::StringRef path) {
  auto file = MappedFile::open(path);
  auto directory = file ? ZipDirectory::read(llvm::toStringRef((*file)->bytes()))
                        : Expected<ZipDirectory>(file.takeError());
  if (directory)
    return checkRecords(*file, *directory);
  consumeError(directory.takeError());
  return Error::success();
}

} // namespace plait
