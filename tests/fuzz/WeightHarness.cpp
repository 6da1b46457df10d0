// The reader of weight files.
#include "tests/fuzz/TempFolder.h"

#include "backend/WeightFile.h"

namespace plait::fuzz {

static void readBlob(const WeightFile &file, const WeightBlob &blob) {
  require(blob.dataOffset <= file.fileBytes() &&
              blob.byteSize <= file.fileBytes() - blob.dataOffset,
          "a blob reaches beyond the file");
  int64_t count = blob.numElements();
  auto tensor = file.tensorAt(blob.metadataOffset, blob.dtype, {count});
  require(bool(tensor), "a blob of its own type and size is refused");
  auto bytes = tensor->bytes();
  require(bool(bytes), "the elements of a blob cannot be read");
  require(bytes->size() == mil::byteSize(blob.dtype, count),
          "a blob has another size than it says");
  auto other = file.tensorAt(blob.metadataOffset, blob.dtype, {count + 1});
  require(!other, "a blob passes for a longer one");
  llvm::consumeError(other.takeError());
}

void weights(llvm::ArrayRef<uint8_t> input) {
  static const TempFolder folder;
  folder.write("weight.bin", input);
  auto file = WeightFile::open(folder.at("weight.bin"));
  if (!file)
    return llvm::consumeError(file.takeError());
  if (auto blobs = (*file)->blobs())
    require(blobs->size() == (*file)->count(), "a file has as many blobs as it says");
  else
    llvm::consumeError(blobs.takeError());
  for (uint64_t offset = 0; offset <= (*file)->fileBytes() + 64; offset += 32) {
    if (auto blob = (*file)->blobAt(offset))
      readBlob(**file, *blob);
    else
      llvm::consumeError(blob.takeError());
  }
}

} // namespace plait::fuzz
