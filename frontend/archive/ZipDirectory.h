// The central directory of a zip file that lies in memory (a mapped file): where each record's
// bytes are, how many, whether they are compressed, and their CRC-32. Nothing but the directory and
// the small local headers is read, so a file of many gigabytes costs a few pages.
//
// Bytes, little endian (PKWARE APPNOTE 6.3; what torch.jit.save writes is marked *):
//
//   file     := record* directory [end64 locator64] end
//   record   := local data [descriptor]
//   local    := 50 4B 03 04  u16 version  u16 flags  u16 method  u16 time  u16 date
//               u32 crc*  u32 packedSize*  u32 size*  u16 nameLength  u16 extraLength  name  extra
//               (* zero in the local header, with bit 3 of flags; extra pads data to 64 bytes)
//   directory:= entry*
//   entry    := 50 4B 01 02  u16 madeBy  u16 version  u16 flags  u16 method  u16 time  u16 date
//               u32 crc  u32 packedSize  u32 size  u16 nameLength  u16 extraLength  u16
//               commentLength u16 disk  u16 internal  u32 external  u32 localOffset  name  extra
//               comment
//   extra    := (u16 id  u16 length  bytes)*
//               id 1 holds, as u64 each and only where the entry's own field is FFFFFFFF:
//               size, packedSize, localOffset
//   end64    := 50 4B 06 06  u64 sizeOfRest  u16 madeBy  u16 version  u32 disk  u32 directoryDisk
//               u64 entriesHere  u64 entries  u64 directorySize  u64 directoryOffset  …
//   locator64:= 50 4B 06 07  u32 disk  u64 offsetOfEnd64  u32 disks
//   end      := 50 4B 05 06  u16 disk  u16 directoryDisk  u16 entriesHere  u16 entries
//               u32 directorySize  u32 directoryOffset  u16 commentLength  comment
//   method   := 0 stored | 8 deflated
//
// Every offset and length is checked against the file. Refused: several disks, encryption, other
// methods, records that overlap one another or the directory, two records of one name, a local
// header whose name is not the directory's, sizes that deflate cannot reach.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <vector>

namespace plait {

struct ZipRecord {
  llvm::StringRef name;  ///< Points into the file's bytes.
  uint64_t headerOffset; ///< Of the local header.
  uint64_t offset;       ///< Of the data, from the start of the file.
  uint64_t packedSize;   ///< Bytes in the file.
  uint64_t size;         ///< Bytes once decompressed; packedSize when stored.
  uint32_t crc32;        ///< Of the decompressed bytes, as the directory says; not checked here.
  bool compressed;
};

class ZipDirectory {
public:
  /// Reads the directory of a whole zip file. `file` must outlive the result.
  static Expected<ZipDirectory> read(llvm::StringRef file);

  /// Whether `file` begins as a zip file does.
  static bool looksLikeZip(llvm::StringRef file);

  /// In order of their offset in the file.
  llvm::ArrayRef<ZipRecord> records() const { return sorted; }

  const ZipRecord *find(llvm::StringRef name) const;

  /// The stored record whose data covers byte `offset` of the file, or null.
  const ZipRecord *storedRecordAt(uint64_t offset) const;

private:
  std::vector<ZipRecord> sorted;
  llvm::StringMap<uint32_t> byName;
};

} // namespace plait
