// The directory of a zip file, and what kind of archive it is.
#include "tests/fuzz/Harness.h"

#include "frontend/archive/ArchiveLayout.h"

#include "llvm/ADT/StringExtras.h"

namespace plait::fuzz {

void archive(llvm::ArrayRef<uint8_t> input) {
  llvm::StringRef file = llvm::toStringRef(input);
  auto directory = ZipDirectory::read(file);
  if (directory) {
    uint64_t end = 0;
    unsigned sum = 0;
    for (const ZipRecord &record : directory->records()) {
      require(record.headerOffset >= end, "records overlap, or are out of order");
      require(record.offset >= record.headerOffset && record.offset <= file.size() &&
                  record.packedSize <= file.size() - record.offset,
              "a record reaches out of the file");
      require(record.compressed || record.packedSize == record.size,
              "a stored record has two sizes");
      require(directory->find(record.name) == &record, "a record is not found by its name");
      if (!record.compressed && record.size)
        require(directory->storedRecordAt(record.offset + record.size - 1) == &record,
                "a record is not found by its last byte");
      for (uint8_t byte : file.substr(record.offset, record.packedSize))
        sum += byte;
      end = record.offset + record.packedSize;
    }
    volatile unsigned used = sum;
    (void)used;
  } else {
    llvm::consumeError(directory.takeError());
  }
  auto layout = readArchiveLayout(file, 10);
  if (!layout) {
    require(!llvm::toString(layout.takeError()).empty(), "a refusal says nothing");
    return;
  }
  require(layout->version <= 10, "an archive of a newer format is accepted");
  require(layout->find(layout->legacy ? "model.json" : "data.pkl"), "an archive without a model");
}

} // namespace plait::fuzz
