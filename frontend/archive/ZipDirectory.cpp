// Reading a zip directory; the grammar is in the header.
#include "frontend/archive/ZipDirectory.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Endian.h"

#include <algorithm>

namespace plait {
namespace {

using llvm::StringRef;

constexpr uint32_t localSignature = 0x04034b50, entrySignature = 0x02014b50,
                   endSignature = 0x06054b50, end64Signature = 0x06064b50,
                   locator64Signature = 0x07064b50;
constexpr uint64_t localSize = 30, entrySize = 46, endSize = 22, end64Size = 56, locator64Size = 20;
constexpr uint64_t maxComment = 0xffff;
// Deflate spends at least two bits on a match of 258 bytes.
constexpr uint64_t maxDeflateRatio = 1032;

uint16_t read16(const char *at) { return llvm::support::endian::read16le(at); }
uint32_t read32(const char *at) { return llvm::support::endian::read32le(at); }
uint64_t read64(const char *at) { return llvm::support::endian::read64le(at); }

/// Whether [offset, offset + size) lies in [0, limit).
bool fits(uint64_t offset, uint64_t size, uint64_t limit) {
  return offset <= limit && size <= limit - offset;
}

struct Extent {
  uint64_t offset, size, entries;
};

/// Where the central directory is.
Expected<Extent> findDirectory(StringRef file) {
  if (file.size() < endSize)
    return makeError(Code::ArchiveDamaged, "it has {0} bytes, too few for a zip file", file.size());
  // The end record is found from the back: only a comment may follow it, and its length must fit.
  uint64_t lowest = file.size() - std::min<uint64_t>(file.size(), endSize + maxComment);
  uint64_t end = file.size();
  for (uint64_t at = file.size() - endSize;; --at) {
    if (read32(file.data() + at) == endSignature &&
        at + endSize + read16(file.data() + at + 20) == file.size()) {
      end = at;
      break;
    }
    if (at == lowest)
      break;
  }
  if (end == file.size())
    return makeError(Code::ArchiveDamaged, "its end is missing: the zip directory is not there");

  const char *p = file.data() + end;
  Extent extent{read32(p + 16), read32(p + 12), read16(p + 10)};
  uint64_t disks = read16(p + 4) | read16(p + 6), entriesHere = read16(p + 8);
  uint64_t limit = end;
  if (end >= locator64Size && read32(p - locator64Size) == locator64Signature) {
    const char *locator = p - locator64Size;
    uint64_t end64 = read64(locator + 8);
    if (!fits(end64, end64Size, end - locator64Size) ||
        read32(file.data() + end64) != end64Signature)
      return makeError(Code::ArchiveDamaged,
                       "its zip64 end record is not where the locator says ({0})", end64);
    const char *q = file.data() + end64;
    disks = read32(q + 16) | read32(q + 20);
    extent = {read64(q + 48), read64(q + 40), read64(q + 32)};
    entriesHere = read64(q + 24);
    limit = end64;
  }
  if (disks != 0 || entriesHere != extent.entries)
    return makeError(Code::ArchiveDamaged, "it is one part of a zip file split over several");
  if (!fits(extent.offset, extent.size, limit))
    return makeError(Code::ArchiveDamaged,
                     "its zip directory ({0} bytes at {1}) reaches out of the file", extent.size,
                     extent.offset);
  if (extent.entries > extent.size / entrySize)
    return makeError(Code::ArchiveDamaged, "its zip directory claims {0} records in {1} bytes",
                     extent.entries, extent.size);
  return extent;
}

/// Replaces those of the three fields that are saturated by their zip64 values.
Error readZip64Extra(StringRef extra, ZipRecord &record) {
  while (extra.size() >= 4) {
    uint64_t id = read16(extra.data()), length = read16(extra.data() + 2);
    if (length > extra.size() - 4)
      return makeError(Code::ArchiveDamaged, "record '{0}': a malformed extra field", record.name);
    StringRef body = extra.substr(4, length);
    extra = extra.drop_front(4 + length);
    if (id != 1)
      continue;
    for (uint64_t *field : {&record.size, &record.packedSize, &record.headerOffset}) {
      if (*field != 0xffffffff)
        continue;
      if (body.size() < 8)
        return makeError(Code::ArchiveDamaged, "record '{0}': its zip64 field is too short",
                         record.name);
      *field = read64(body.data());
      body = body.drop_front(8);
    }
    return Error::success();
  }
  return Error::success();
}

/// Fills `offset` from the local header, which must lie before the directory and agree with it.
Error locateData(StringRef file, uint64_t directoryOffset, ZipRecord &record) {
  if (!fits(record.headerOffset, localSize, directoryOffset))
    return makeError(Code::ArchiveDamaged,
                     "record '{0}': its header at {1} is outside of the file's data", record.name,
                     record.headerOffset);
  const char *p = file.data() + record.headerOffset;
  if (read32(p) != localSignature)
    return makeError(Code::ArchiveDamaged, "record '{0}': there is no record header at {1}",
                     record.name, record.headerOffset);
  uint64_t nameLength = read16(p + 26), extraLength = read16(p + 28);
  record.offset = record.headerOffset + localSize + nameLength + extraLength;
  if (!fits(record.offset, record.packedSize, directoryOffset))
    return makeError(Code::ArchiveDamaged,
                     "record '{0}': its {1} bytes at {2} reach out of the file's data", record.name,
                     record.packedSize, record.offset);
  if (StringRef(p + localSize, nameLength) != record.name)
    return makeError(Code::ArchiveDamaged, "record '{0}': its header at {1} carries another name",
                     record.name, record.headerOffset);
  return Error::success();
}

/// Reads the entry at the front of `rest` and drops it.
Expected<ZipRecord> readEntry(StringRef file, uint64_t directoryOffset, StringRef &rest) {
  if (rest.size() < entrySize || read32(rest.data()) != entrySignature)
    return makeError(Code::ArchiveDamaged, "its zip directory is damaged at {0}",
                     rest.data() - file.data());
  const char *p = rest.data();
  uint64_t nameLength = read16(p + 28), extraLength = read16(p + 30),
           commentLength = read16(p + 32);
  if (nameLength + extraLength + commentLength > rest.size() - entrySize)
    return makeError(Code::ArchiveDamaged, "its zip directory is damaged at {0}", p - file.data());
  uint16_t flags = read16(p + 8), method = read16(p + 10);
  ZipRecord record{StringRef(p + entrySize, nameLength),
                   /*headerOffset=*/read32(p + 42),
                   /*offset=*/0,
                   /*packedSize=*/read32(p + 20),
                   /*size=*/read32(p + 24),
                   /*crc32=*/read32(p + 16),
                   /*compressed=*/method == 8};
  if (auto error = readZip64Extra(StringRef(p + entrySize + nameLength, extraLength), record))
    return error;
  rest = rest.drop_front(entrySize + nameLength + extraLength + commentLength);

  if (record.name.empty() || record.name.contains('\0'))
    return makeError(Code::ArchiveDamaged, "its zip directory has a record without a usable name");
  if (flags & 1)
    return makeError(Code::ArchiveDamaged, "record '{0}' is encrypted", record.name);
  if (method != 0 && method != 8)
    return makeError(Code::ArchiveDamaged,
                     "record '{0}' is compressed with method {1}; only stored and deflated records "
                     "are read",
                     record.name, method);
  if (auto error = locateData(file, directoryOffset, record))
    return error;
  // packedSize is at most the file's, so the product cannot overflow.
  bool possible = record.compressed ? record.size <= (record.packedSize + 1) * maxDeflateRatio
                                    : record.size == record.packedSize;
  if (!possible)
    return makeError(Code::ArchiveDamaged,
                     "record '{0}': {1} bytes cannot hold the {2} that are claimed", record.name,
                     record.packedSize, record.size);
  return record;
}

} // namespace

bool ZipDirectory::looksLikeZip(StringRef file) {
  return file.size() >= 4 && read32(file.data()) == localSignature;
}

Expected<ZipDirectory> ZipDirectory::read(StringRef file) {
  auto extent = findDirectory(file);
  if (!extent)
    return extent.takeError();
  ZipDirectory directory;
  directory.sorted.reserve(extent->entries);
  StringRef rest = file.substr(extent->offset, extent->size);
  for (uint64_t i = 0; i != extent->entries; ++i) {
    auto record = readEntry(file, extent->offset, rest);
    if (!record)
      return record.takeError();
    directory.sorted.push_back(*record);
  }

  llvm::sort(directory.sorted, [](const ZipRecord &a, const ZipRecord &b) {
    return a.headerOffset < b.headerOffset;
  });
  for (auto [index, record] : llvm::enumerate(directory.sorted)) {
    if (index > 0) {
      const ZipRecord &before = directory.sorted[index - 1];
      if (before.offset + before.packedSize > record.headerOffset)
        return makeError(Code::ArchiveDamaged, "records '{0}' and '{1}' overlap", before.name,
                         record.name);
    }
    if (!directory.byName.try_emplace(record.name, index).second)
      return makeError(Code::ArchiveDamaged, "it has two records named '{0}'", record.name);
  }
  return directory;
}

const ZipRecord *ZipDirectory::find(StringRef name) const {
  auto it = byName.find(name);
  return it == byName.end() ? nullptr : &sorted[it->second];
}

const ZipRecord *ZipDirectory::storedRecordAt(uint64_t offset) const {
  auto it = llvm::upper_bound(sorted, offset, [](uint64_t value, const ZipRecord &record) {
    return value < record.offset;
  });
  if (it == sorted.begin())
    return nullptr;
  const ZipRecord &record = *std::prev(it);
  return !record.compressed && offset - record.offset < record.packedSize ? &record : nullptr;
}

} // namespace plait
