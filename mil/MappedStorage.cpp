// The one place where such storage is made.
#include "mil/MappedStorage.h"

namespace plait::mil {

std::shared_ptr<Storage> mappedStorage(std::shared_ptr<const MappedFile> file,
                                       llvm::ArrayRef<uint8_t> bytes) {
  auto storage = keptStorage(bytes, file);
  storage->release = [bytes, file = file.get()](size_t offset, size_t size) {
    file->release(bytes.slice(offset, size));
  };
  return storage;
}

std::shared_ptr<Storage> keptStorage(llvm::ArrayRef<uint8_t> bytes,
                                     std::shared_ptr<const void> owner) {
  auto storage = std::make_shared<Storage>();
  storage->bytes = bytes;
  storage->owner = std::move(owner);
  return storage;
}

} // namespace plait::mil
