// The CRC-32 that an archive states of a record, held against the bytes while somebody reads them
// for other reasons: a record of gigabytes is not read twice. Pieces are read in any order and by
// several threads.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/ArrayRef.h"

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace plait::mil {

class RecordChecksum {
public:
  /// `what` is how an error calls the record. `release` gives pages of it back to the system.
  RecordChecksum(std::string what, llvm::ArrayRef<uint8_t> bytes, uint32_t stated,
                 std::function<void(size_t offset, size_t size)> release)
      : what_(std::move(what)), bytes_(bytes), stated_(stated), release_(std::move(release)) {}

  /// The program depends on the record. Others are not checked.
  void want() { wanted_ = true; }

  /// To be called while the bytes [offset, offset + size) are at hand. The CRC-32 of the range,
  /// where no part of it was seen before.
  std::optional<uint32_t> see(uint64_t offset, uint64_t size);
  /// The range is the same bytes as one with this CRC-32.
  void seeEqual(uint64_t offset, uint64_t size, uint32_t crc);

  /// Reads what nobody has seen of the records that are wanted, with `threads` threads; an error
  /// names those that are not what their archive says.
  static Error checkAll(llvm::ArrayRef<std::shared_ptr<RecordChecksum>> records, unsigned threads);

private:
  struct Piece {
    uint64_t size;
    uint32_t crc;
  };

  bool claim(uint64_t offset, uint64_t size);
  void settle(uint64_t offset, uint32_t crc);
  void addUnseen(std::vector<std::pair<uint64_t, uint64_t>> &ranges) const;
  bool isIntact() const;

  std::string what_;
  llvm::ArrayRef<uint8_t> bytes_;
  uint32_t stated_;
  std::function<void(size_t offset, size_t size)> release_;
  std::atomic<bool> wanted_ = false;
  std::mutex mutex_;
  std::map<uint64_t, Piece> pieces_; ///< by offset; no two overlap
};

} // namespace plait::mil
