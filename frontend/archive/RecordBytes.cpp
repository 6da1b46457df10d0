// A slice where that will do, else a copy that was checked.
#include "frontend/archive/RecordBytes.h"

#include "support/Crc32.h"
#include "support/Inflate.h"

namespace plait {

/// Of the widest element.
static constexpr uintptr_t kRecordAlignment = 8;
/// Weights do not shrink to a hundredth.
static constexpr uint64_t kTrustedUnpacked = 64 << 20;

static Error damagedRecord(llvm::StringRef name) {
  return makeError(Code::ArchiveDamaged,
                   "record '{0}' is damaged (its CRC-32 does not match); copy or save the file "
                   "again",
                   name);
}

static RecordBytes ownedRecord(const ZipRecord &record, std::vector<uint8_t> bytes) {
  auto owner = std::make_shared<const std::vector<uint8_t>>(std::move(bytes));
  return {record.name.str(), *owner, owner, false, record.crc32};
}

Expected<RecordBytes> RecordReader::read(const RecordBytes &container, const ZipRecord &record) {
  llvm::ArrayRef<uint8_t> bytes = container.bytes.slice(record.offset, record.packedSize);
  if (record.compressed) {
    unpacked_ += record.size;
    if (unpacked_ > kTrustedUnpacked && unpacked_ / 100 > file_->bytes().size())
      return makeError(Code::ArchiveDamaged,
                       "its records unpack to {0} bytes so far, and the file has {1}; if that is "
                       "so, pack the archive again without compression",
                       unpacked_, file_->bytes().size());
    auto unpacked = inflate(bytes, record.size);
    if (!unpacked)
      return makeError(Code::ArchiveDamaged,
                       "record '{0}' is damaged: {1}; copy or save the file again", record.name,
                       toString(unpacked.takeError()));
    if (crc32(*unpacked) != record.crc32)
      return damagedRecord(record.name);
    return ownedRecord(record, std::move(*unpacked));
  }
  if (reinterpret_cast<uintptr_t>(bytes.data()) % kRecordAlignment == 0 || bytes.empty())
    return RecordBytes{record.name.str(), bytes, container.owner, container.mapped, record.crc32};
  if (crc32(bytes) != record.crc32)
    return damagedRecord(record.name);
  return ownedRecord(record, bytes.vec());
}

Expected<RecordBytes> RecordReader::readChecked(const RecordBytes &container,
                                                const ZipRecord &record) {
  if (record.compressed)
    return read(container, record);
  // Not aligned by a copy: what is read whole is text, or a zip file whose own records are.
  llvm::ArrayRef<uint8_t> bytes = container.bytes.slice(record.offset, record.packedSize);
  if (crc32(bytes) != record.crc32)
    return damagedRecord(record.name);
  return RecordBytes{record.name.str(), bytes, container.owner, container.mapped, record.crc32};
}

} // namespace plait
