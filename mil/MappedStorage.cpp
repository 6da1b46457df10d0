// The one place where such storage is made.
#include "mil/MappedStorage.h"

#include "mil/IR.h"

#include <set>

namespace plait::mil {

std::shared_ptr<Storage> mappedStorage(std::shared_ptr<const MappedFile> file,
                                       llvm::ArrayRef<uint8_t> bytes) {
  auto storage = keptStorage(bytes, file);
  storage->release = [bytes, file = file.get()](size_t offset, size_t size) {
    file->release(bytes.slice(offset, size));
  };
  storage->check = [file = file.get()] { return file->checkUnchanged(); };
  return storage;
}

std::shared_ptr<Storage> keptStorage(llvm::ArrayRef<uint8_t> bytes,
                                     std::shared_ptr<const void> owner) {
  auto storage = std::make_shared<Storage>();
  storage->bytes = bytes;
  storage->owner = std::move(owner);
  return storage;
}

Error checkUnchanged(const Program &program) {
  std::set<const void *> checked; // one owner, however many storages are parts of it
  Error error = Error::success();
  for (const auto &function : program.functions())
    walk(function->body(), [&](const Op &op) {
      const TensorData *tensor = op.is(OpKind::const_) ? op.val().tensor() : nullptr;
      if (error || !tensor)
        return;
      forEachLeaf(*tensor, [&](const TensorData::Node &leaf) {
        if (!error && leaf.storage->check && checked.insert(leaf.storage->owner.get()).second)
          error = leaf.storage->check();
      });
    });
  return error;
}

} // namespace plait::mil
