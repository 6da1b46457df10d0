// A map of the ranges that were seen; the rest is read at the end.
#include "mil/RecordChecksum.h"

#include "support/Crc32.h"
#include "support/Parallel.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::mil {

static constexpr uint64_t kReleased = 64 << 10;

/// Enters a range, unless a part of it is there already.
bool RecordChecksum::claim(uint64_t offset, uint64_t size) {
  std::scoped_lock lock(mutex_);
  auto next = pieces_.lower_bound(offset);
  if (next != pieces_.end() && next->first < offset + size)
    return false;
  if (next != pieces_.begin())
    if (auto before = std::prev(next); before->first + before->second.size > offset)
      return false;
  pieces_.emplace_hint(next, offset, Piece{size, 0});
  return true;
}

void RecordChecksum::settle(uint64_t offset, uint32_t crc) {
  std::scoped_lock lock(mutex_);
  pieces_.find(offset)->second.crc = crc;
}

std::optional<uint32_t> RecordChecksum::see(uint64_t offset, uint64_t size) {
  if (size == 0 || !claim(offset, size))
    return std::nullopt;
  uint32_t crc = crc32(bytes_.slice(offset, size));
  settle(offset, crc);
  return crc;
}

void RecordChecksum::seeEqual(uint64_t offset, uint64_t size, uint32_t crc) {
  if (size != 0 && claim(offset, size))
    settle(offset, crc);
}

/// In steps that several threads share.
void RecordChecksum::addUnseen(std::vector<std::pair<uint64_t, uint64_t>> &ranges) const {
  constexpr uint64_t step = 1 << 20;
  uint64_t seen = 0;
  auto add = [&](uint64_t end) {
    for (; seen < end; seen += std::min(step, end - seen))
      ranges.emplace_back(seen, std::min(step, end - seen));
  };
  for (const auto &[offset, piece] : pieces_) {
    add(offset);
    seen = offset + piece.size;
  }
  add(bytes_.size());
}

bool RecordChecksum::isIntact() const {
  uint32_t crc = 0;
  for (const auto &[offset, piece] : pieces_)
    crc = joinCrc32(crc, piece.crc, piece.size);
  // Of a storage without memory, a tensor subclass's, LibTorch writes zeros and states 0.
  return crc == stated_ ||
         (stated_ == 0 && llvm::all_of(bytes_, [](uint8_t byte) { return byte == 0; }));
}

Error RecordChecksum::checkAll(llvm::ArrayRef<std::shared_ptr<RecordChecksum>> records,
                               unsigned threads) {
  struct Range {
    RecordChecksum *record;
    uint64_t offset, size;
  };
  std::vector<Range> unseen;
  for (const auto &record : records) {
    if (!record->wanted_)
      continue;
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
    record->addUnseen(ranges);
    for (auto [offset, size] : ranges)
      unseen.push_back({record.get(), offset, size});
  }
  Error error = parallelFor(threads, unseen.size(), [&](unsigned, size_t i) -> Error {
    auto [record, offset, size] = unseen[i];
    record->see(offset, size);
    // Giving pages back interrupts all processors, which small records are not worth.
    if (record->release_ && size >= kReleased)
      record->release_(offset, size);
    return Error::success();
  });
  if (error)
    return error;
  std::vector<std::string> damaged;
  for (const auto &record : records)
    if (record->wanted_ && !record->isIntact())
      damaged.push_back(record->what_);
  if (damaged.empty())
    return Error::success();
  size_t count = damaged.size();
  damaged.resize(std::min<size_t>(count, 5));
  return makeError(
      Code::ArchiveDamaged,
      "{0}{1} {2} damaged (the CRC-32 of the archive does not match); copy or save the "
      "file again",
      llvm::join(damaged, ", "), count > damaged.size() ? " …" : "", count == 1 ? "is" : "are");
}

} // namespace plait::mil
