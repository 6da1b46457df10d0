// A look at the directories, then all records of a group in step, so that the first one's bytes are
// read from memory once.
#include "frontend/archive/EqualRecords.h"

#include "frontend/archive/ZipDirectory.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

#include <cstring>

namespace plait {

/// Smaller records cost the writer less than keeping books of them.
static constexpr uint64_t smallest = 64 << 10;
/// Compared at once; the first record's share stays in the cache while the others pass by.
static constexpr uint64_t step = 256 << 10;
/// Given back at once: often enough that little stays resident, and seldom enough that the other
/// thread is not stopped by it, since giving back pages interrupts all processors.
static constexpr uint64_t kept = 16 << 20;
/// The system maps up to this much at once where it can, and not again where a part was given back.
static constexpr uint64_t huge = 2 << 20;

EqualRecords::EqualRecords(std::vector<std::string> paths)
    : thread_([this, paths = std::move(paths)] {
        readDirectories(paths);
        isReady_ = true;
        isReady_.notify_all();
        for (Group &group : groups_)
          compare(group);
        groups_.clear(); // and the mappings
      }) {}

EqualRecords::~EqualRecords() { stop(); }

void EqualRecords::stop() {
  stopped_ = true;
  if (thread_.joinable())
    thread_.join();
}

std::shared_ptr<const mil::Likeness> EqualRecords::likeness(llvm::sys::fs::UniqueID file,
                                                            uint64_t offset) const {
  isReady_.wait(false);
  auto it = likenesses_.find({{file.getDevice(), file.getFile()}, offset});
  return it == likenesses_.end() ? nullptr : it->second;
}

void EqualRecords::readDirectories(llvm::ArrayRef<std::string> paths) {
  std::map<std::pair<uint64_t, uint64_t>, std::shared_ptr<const MappedFile>> files;
  std::map<std::pair<uint64_t, uint32_t>, size_t> groupOf; // by size and CRC-32
  for (const std::string &path : paths) {
    auto file = MappedFile::open(path);
    if (!file) {
      consumeError(file.takeError());
      continue;
    }
    std::pair<uint64_t, uint64_t> id((*file)->id().getDevice(), (*file)->id().getFile());
    if (!files.emplace(id, *file).second)
      continue;
    llvm::StringRef text = llvm::toStringRef((*file)->bytes());
    auto directory = ZipDirectory::read(text);
    if (!directory) {
      consumeError(directory.takeError());
      continue;
    }
    for (const ZipRecord &record : directory->records()) {
      if (record.compressed || record.size < smallest)
        continue;
      auto [it, isNew] = groupOf.try_emplace({record.size, record.crc32}, groups_.size());
      if (isNew)
        groups_.emplace_back();
      groups_[it->second].push_back(
          {*file, (*file)->bytes().slice(record.offset, record.size), nullptr});
    }
  }
  llvm::erase_if(groups_, [](const Group &group) { return group.size() < 2; });
  static std::atomic<uint64_t> groups = 0;
  for (Group &group : groups_) {
    uint64_t number = ++groups;
    for (Record &record : group) {
      record.likeness = std::make_shared<mil::Likeness>(number);
      likenesses_[{{record.file->id().getDevice(), record.file->id().getFile()},
                   uint64_t(record.bytes.data() - record.file->bytes().data())}] = record.likeness;
    }
    group[0].likeness->equal = group[0].bytes.size();
  }
}

void EqualRecords::compare(Group &group) {
  const Record &first = group[0];
  std::vector<Record *> alike;
  for (Record &record : llvm::drop_begin(group))
    alike.push_back(&record);
  uint64_t size = first.bytes.size();
  // Whole huge pages, wherever the record lies in its mapping.
  auto release = [&](const Record &record, uint64_t end) {
    auto boundary = [&](uint64_t offset) {
      auto address = reinterpret_cast<uintptr_t>(record.bytes.data());
      uintptr_t down = llvm::alignDown(address + offset, huge);
      return down > address ? down - address : 0;
    };
    uint64_t from = boundary(end - std::min(end, kept)), to = end < size ? boundary(end) : size;
    record.file->release(record.bytes.slice(from, to - from));
  };
  for (uint64_t begin = 0; begin < size && !alike.empty(); begin += step) {
    llvm::ArrayRef<uint8_t> piece = first.bytes.slice(begin, std::min(step, size - begin));
    uint64_t end = begin + piece.size();
    llvm::erase_if(alike, [&](Record *record) {
      if (stopped_)
        return true;
      llvm::ArrayRef<uint8_t> other = record->bytes.slice(begin, piece.size());
      bool equal = std::memcmp(piece.data(), other.data(), piece.size()) == 0;
      if (end % kept == 0 || end == size || !equal)
        release(*record, end);
      if (equal)
        record->likeness->equal = end;
      return !equal;
    });
    if (end % kept == 0 || end == size || alike.empty())
      release(first, end);
  }
}

} // namespace plait
