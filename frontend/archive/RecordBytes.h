// The bytes of a zip file's records, wherever the zip file itself lies: in a mapped file, or in a
// record of another zip file. What is stored stays where it is; what is deflated, or does not lie
// where elements can be read from, is copied.
#pragma once

#include "frontend/archive/ZipDirectory.h"
#include "support/MappedFile.h"

namespace plait {

struct RecordBytes {
  std::string name; ///< for messages
  llvm::ArrayRef<uint8_t> bytes;
  std::shared_ptr<const void> owner; ///< of the bytes
  bool mapped = false;               ///< they are the file's own
  /// Of the bytes, as the archive says: of copies it was checked.
  uint32_t crc32 = 0;
};

/// Reads records and keeps count of what they unpack to: a small file that grows to gigabytes is
/// refused.
class RecordReader {
public:
  explicit RecordReader(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {}

  /// The whole file.
  RecordBytes whole() const { return {file_->path().str(), file_->bytes(), file_, true, 0}; }
  /// A record of the zip file that `container` is. Messages do not name the file.
  Expected<RecordBytes> read(const RecordBytes &container, const ZipRecord &record);
  /// One whose CRC-32 is checked now: for what is read at once and whole.
  Expected<RecordBytes> readChecked(const RecordBytes &container, const ZipRecord &record);

private:
  std::shared_ptr<const MappedFile> file_;
  uint64_t unpacked_ = 0; ///< bytes of deflated records so far
};

} // namespace plait
