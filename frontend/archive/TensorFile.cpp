// From the zip directory to views of its records.
#include "frontend/archive/TensorFile.h"

#include "frontend/archive/RecordBytes.h"
#include "frontend/archive/RecordCheck.h"
#include "frontend/archive/TensorPickle.h"
#include "mil/MappedStorage.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"

#include <map>

namespace plait {
namespace {

using llvm::StringRef;
using mil::Storage;
using mil::TensorData;

class TensorRecords {
public:
  TensorRecords(std::shared_ptr<const MappedFile> file, ZipDirectory directory)
      : file(std::move(file)), directory(std::move(directory)), reader(this->file) {
    if (!this->directory.records().empty()) {
      StringRef first = this->directory.records().front().name;
      prefix = first.take_front(first.find('/') + 1).str();
    }
  }

  const ZipRecord *find(StringRef name) const { return directory.find(prefix + name.str()); }

  /// The bytes of a record that is there; one storage for all tensors of it.
  Expected<std::shared_ptr<const Storage>> storage(const ZipRecord &record) {
    auto &known = storages[record.name];
    if (known)
      return known;
    auto bytes = reader.read(reader.whole(), record);
    if (!bytes)
      return bytes.takeError();
    known = bytes->mapped ? mil::mappedStorage(file, bytes->bytes)
                          : mil::keptStorage(bytes->bytes, bytes->owner);
    return known;
  }

  /// A copy of a record's storage in which every number of the type has the other sign.
  Expected<std::shared_ptr<const Storage>> negated(const ZipRecord &record, mil::DType dtype) {
    auto &known = negatedStorages[{record.name, dtype}];
    if (known)
      return known;
    auto original = storage(record);
    if (!original)
      return original.takeError();
    std::vector<uint8_t> bytes = (*original)->bytes.vec();
    size_t width = mil::bitWidth(dtype) / 8;
    for (size_t last = width - 1; last < bytes.size(); last += width)
      bytes[last] ^= 0x80;
    known = Storage::owned(std::move(bytes));
    return known;
  }

private:
  std::shared_ptr<const MappedFile> file;
  ZipDirectory directory;
  RecordReader reader;
  std::string prefix; ///< with its slash
  llvm::StringMap<std::shared_ptr<const Storage>> storages;
  std::map<std::pair<StringRef, mil::DType>, std::shared_ptr<const Storage>> negatedStorages;
};

Expected<TensorData> viewOf(TensorRecords &records, PickledTensor &tensor) {
  const ZipRecord *record = records.find(tensor.record);
  if (!record)
    return makeError(Code::ArchiveDamaged,
                     "record '{0}' is missing; the archive is damaged, save it again",
                     tensor.record);
  if (tensor.storageBytes > record->size)
    return makeError(Code::ArchiveDamaged,
                     "a tensor of {0} bytes lies in a record of {1}; the archive is damaged, save "
                     "it again",
                     tensor.storageBytes, record->size);
  auto storage =
      tensor.isNegated ? records.negated(*record, tensor.dtype) : records.storage(*record);
  if (!storage)
    return storage.takeError();
  uint64_t offset = uint64_t(tensor.offset) * (mil::bitWidth(tensor.dtype) / 8);
  if (llvm::is_contained(tensor.shape, 0))
    offset = 0; // of nothing
  return TensorData::view(std::move(*storage), offset, tensor.dtype, tensor.shape, tensor.strides);
}

Expected<std::vector<std::pair<std::string, TensorData>>>
readTensorRecords(TensorRecords &records) {
  const ZipRecord *order = records.find("byteorder"), *record = records.find("data.pkl");
  if (order) {
    auto bytes = records.storage(*order);
    if (!bytes)
      return bytes.takeError();
    if (llvm::toStringRef((*bytes)->bytes).trim() == "big")
      return makeError(Code::ArchiveVersion,
                       "it was saved on a big-endian machine; save it on a little-endian one");
  }
  if (!record)
    return makeError(Code::PickledObject,
                     "record 'data.pkl' is missing: torch.save did not write this file");
  auto pickle = records.storage(*record);
  if (!pickle)
    return pickle.takeError();
  auto tensors = readTensorPickle(llvm::toStringRef((*pickle)->bytes));
  if (!tensors)
    return tensors.takeError();
  std::vector<std::pair<std::string, TensorData>> result;
  for (PickledTensor &tensor : *tensors) {
    auto view = viewOf(records, tensor);
    if (!view)
      return view.takeError();
    result.emplace_back(std::move(tensor.name), std::move(*view));
  }
  return result;
}

} // namespace

Expected<std::vector<std::pair<std::string, TensorData>>> readTensorFile(StringRef path) {
  auto file = MappedFile::open(path);
  if (!file)
    return addContext(file.takeError(), path);
  StringRef bytes = llvm::toStringRef((*file)->bytes());
  auto directory =
      ZipDirectory::looksLikeZip(bytes)
          ? ZipDirectory::read(bytes)
          : makeError(Code::PickledObject,
                      "it is no zip archive, as torch.save has written them since PyTorch 1.6; "
                      "save it again, as safetensors where you can");
  if (!directory)
    return addContext(directory.takeError(), path);
  if (Error error = checkRecords(*file, *directory))
    return error;
  TensorRecords records(*file, std::move(*directory));
  auto tensors = readTensorRecords(records);
  if (!tensors)
    return addContext(tensors.takeError(), path);
  return tensors;
}

} // namespace plait
