// The mapped loader. It does what torch::jit::load does (read constants.pkl, then data.pkl,
// compiling types from code/ as the pickles name them), with storages over the mapping in place of
// copies.
#include "frontend/script/libtorch/internal/MappedArchive.h"
#include "frontend/archive/PickleCheck.h"
#include "frontend/script/libtorch/internal/DebugRanges.h"
#include "frontend/script/libtorch/internal/TensorChecks.h"

#include "caffe2/serialize/inline_container.h"
#include "support/Format.h"
#include "torch/csrc/jit/serialization/import.h"
#include "torch/csrc/jit/serialization/import_source.h"
#include "torch/csrc/jit/serialization/unpickler.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CRC.h"

#include <cstring>
#include <mutex>
#include <stdexcept>

// LibTorch has these in every version from 2.4 on; older ones do not install their headers
// (operator_upgraders/upgraders.h, upgraders_entry.h).
namespace torch::jit {
TORCH_API bool is_upgraders_map_populated();
TORCH_API void populate_upgraders_graph_map();
} // namespace torch::jit

namespace plait::libtorch {
namespace {

using c10::IValue;
using caffe2::serialize::PyTorchStreamReader;
using llvm::StringRef;
using torch::jit::Source;

// The widest element (a complex double) must be aligned; torch itself writes records at multiples
// of 64.
constexpr uintptr_t requiredAlignment = 16;
// Weights do not shrink to a hundredth; a small file that grows to gigabytes is no model.
constexpr uint64_t trustedSize = 64 << 20;

/// Lets LibTorch's zip reader, which decompresses, read the mapping.
class MappingAdapter final : public caffe2::serialize::ReadAdapterInterface {
public:
  explicit MappingAdapter(std::shared_ptr<const MappedFile> file) : file(std::move(file)) {}
  size_t size() const override { return file->bytes().size(); }
  size_t read(uint64_t position, void *buffer, size_t count, const char *) const override {
    auto bytes = file->bytes().drop_front(std::min<uint64_t>(position, size()));
    count = std::min(count, bytes.size());
    std::memcpy(buffer, bytes.data(), count);
    return count;
  }

private:
  std::shared_ptr<const MappedFile> file;
};

uint32_t crc32Of(StringRef bytes) { return llvm::crc32(llvm::arrayRefFromStringRef(bytes)); }

/// The records of one archive. Functions that LibTorch calls back throw std::runtime_error.
class RecordReader {
public:
  RecordReader(FilePtr file, LayoutPtr layout) : file(std::move(file)), layout(std::move(layout)) {}

  /// The whole record, decompressed and checked against its CRC-32; none if there is none.
  std::optional<std::string> text(const std::string &name) {
    const ZipRecord *record = layout->find(name);
    if (!record)
      return std::nullopt;
    std::string result;
    if (record->compressed) {
      auto [data, size] = readCopy(name, *record);
      result.assign(static_cast<const char *>(data.get()), size);
    } else {
      auto bytes = file->bytes().slice(record->offset, record->size);
      result.assign(bytes.begin(), bytes.end());
    }
    checkCrc(*record, result);
    return result;
  }

  /// A storage's bytes: in the mapping, which they keep alive, or copied if they must be.
  at::DataPtr storage(const std::string &name) {
    const ZipRecord *record = layout->find(name);
    if (!record)
      throw std::runtime_error("record '" + name +
                               "' is missing; the archive is damaged, save it again");
    const uint8_t *data = file->bytes().data() + record->offset;
    if (record->compressed || reinterpret_cast<uintptr_t>(data) % requiredAlignment != 0) {
      auto [copy, size] = readCopy(name, *record);
      checkCrc(*record, StringRef(static_cast<const char *>(copy.get()), size));
      copiedSizes[copy.get()] = size;
      return std::move(copy);
    }
    auto owner = std::make_unique<std::shared_ptr<const MappedFile>>(file);
    auto drop = [](void *context) {
      delete static_cast<std::shared_ptr<const MappedFile> *>(context);
    };
    return {const_cast<uint8_t *>(data), owner.release(), drop, at::kCPU};
  }

  /// See TensorChecks.h.
  std::optional<uint64_t> bytesBehind(const void *data) const {
    if (auto it = copiedSizes.find(data); it != copiedSizes.end())
      return it->second;
    auto bytes = file->bytes();
    const auto *byte = static_cast<const uint8_t *>(data);
    if (byte < bytes.begin() || byte >= bytes.end())
      return std::nullopt;
    uint64_t offset = byte - bytes.begin();
    const ZipRecord *record = layout->directory.storedRecordAt(offset);
    return record ? record->offset + record->size - offset : 0;
  }

  /// Frees what is only needed while records are read.
  void finish() {
    std::scoped_lock lock(mutex);
    decompressor.reset();
    copiedSizes.clear();
    unpacked = 0;
  }

private:
  std::pair<at::DataPtr, size_t> readCopy(const std::string &name, const ZipRecord &record) {
    if (record.compressed && record.size > trustedSize && record.size / 100 > record.packedSize)
      throw std::runtime_error(
          fmt::format("record '{0}' claims {1} bytes in {2}; if that is so, pack the archive "
                      "again without compression",
                      name, record.size, record.packedSize));
    std::scoped_lock lock(mutex);
    // Many records, or one that is read many times, add up.
    unpacked += record.compressed ? record.size : 0;
    if (unpacked > trustedSize && unpacked / 100 > file->bytes().size())
      throw std::runtime_error(
          fmt::format("its records unpack to {0} bytes so far, and the file has {1}; if that is "
                      "so, pack the archive again without compression",
                      unpacked, file->bytes().size()));
    if (!decompressor)
      decompressor = std::make_unique<PyTorchStreamReader>(std::make_shared<MappingAdapter>(file));
    auto [data, size] = decompressor->getRecord(name);
    if (size != record.size)
      throw std::runtime_error("record '" + name + "' is damaged; copy or save the file again");
    return {std::move(data), size};
  }

  static void checkCrc(const ZipRecord &record, StringRef bytes) {
    if (crc32Of(bytes) != record.crc32)
      throw std::runtime_error(
          "record '" + record.name.str() +
          "' is damaged (its CRC-32 does not match); copy or save the file again");
  }

  std::shared_ptr<const MappedFile> file;
  std::shared_ptr<const ArchiveLayout> layout;
  std::mutex mutex; // Debug records are read whenever a diagnostic asks for them.
  std::unique_ptr<PyTorchStreamReader> decompressor;
  llvm::DenseMap<const void *, uint64_t> copiedSizes;
  uint64_t unpacked = 0; ///< bytes of compressed records so far
};

/// What an unpickler reads with: hands out `rest` from its front.
auto readerOf(StringRef &rest) {
  return [&rest](char *buffer, size_t count) {
    count = std::min(count, rest.size());
    std::memcpy(buffer, rest.data(), count);
    rest = rest.drop_front(count);
    return count;
  };
}

class Loader {
public:
  Loader(const FilePtr &file, const LayoutPtr &layout)
      : records(std::make_shared<RecordReader>(file, layout)), version(layout->version),
        unit(std::make_shared<torch::jit::CompilationUnit>()),
        importer(
            unit, &constants,
            [this](const std::string &qualifier) { return findSource(qualifier); }, version) {}

  torch::jit::Module loadModule() {
    IValue table = unpickle("constants");
    constants = table.toTupleRef().elements().vec();
    torch::jit::Module module(unpickle("data").toObject());
    records->finish();
    return module;
  }

private:
  /// The source file that defines the types below `qualifier`.
  std::shared_ptr<Source> findSource(const std::string &qualifier) {
    std::string name = "code/" + qualifier + ".py";
    std::replace(name.begin() + 5, name.end() - 3, '.', '/');
    auto text = records->text(name);
    if (!text)
      return nullptr;
    auto ranges = std::make_shared<DebugRanges>(
        [records = records, debugName = name + ".debug_pkl"] { return records->text(debugName); });
    return std::make_shared<Source>(*text, name, /*starting_line_no=*/1, std::move(ranges));
  }

  /// The value of `NAME.pkl`, whose storages are the records `NAME/N`.
  IValue unpickle(const std::string &name) {
    auto pickle = records->text(name + ".pkl");
    if (!pickle)
      throw std::runtime_error("record '" + name + ".pkl' is missing");
    if (auto error = checkPickle(*pickle))
      throw std::runtime_error(name + ".pkl: " + llvm::toString(std::move(error)));
    StringRef rest = *pickle;
    auto read = readerOf(rest);
    auto resolveType = [this](const c10::QualifiedName &type) {
      return c10::StrongTypePtr(unit, importer.loadType(type));
    };
    auto makeObject = [this](const c10::StrongTypePtr &type, IValue state) {
      return this->makeObject(type, std::move(state));
    };
    auto readStorage = [&](const std::string &key) { return records->storage(name + "/" + key); };
    torch::jit::Unpickler unpickler(read, resolveType, makeObject, readStorage, at::kCPU);
    unpickler.set_version(version);
    IValue value = unpickler.parse_ivalue();
    checkBounds(value);
    return value;
  }

  c10::intrusive_ptr<c10::ivalue::Object> makeObject(const c10::StrongTypePtr &type, IValue state) {
    if (auto *setState = type.type_->expect<c10::ClassType>()->findMethod("__setstate__")) {
      checkBounds(state); // It reads the tensors before anybody else can check them.
      if (mayWriteTensors(*setState))
        state = state.deepcopy();
    }
    return torch::jit::ObjLoaderFunc(type, std::move(state));
  }

  void checkBounds(const IValue &value) const {
    checkTensorBounds(value, [&](const void *data) { return records->bytesBehind(data); });
  }

  std::shared_ptr<RecordReader> records;
  uint64_t version;
  std::shared_ptr<torch::jit::CompilationUnit> unit;
  std::vector<IValue> constants;
  torch::jit::SourceImporter importer;
};

} // namespace

uint64_t maxArchiveVersion() { return caffe2::serialize::kMaxSupportedFileFormatVersion; }

/// Operators that changed their meaning are replaced by their old form, as the archive's version
/// asks. LibTorch compiles those forms first, which takes 20 ms, and few archives need one:
/// compiling an archive that does fails as long as they are missing.
torch::jit::Module loadMappedModule(const FilePtr &file, const LayoutPtr &layout) {
  if (!torch::jit::is_upgraders_map_populated()) {
    try {
      return Loader(file, layout).loadModule();
    } catch (const std::exception &) {
      torch::jit::populate_upgraders_graph_map();
    }
  }
  return Loader(file, layout).loadModule();
}

} // namespace plait::libtorch
