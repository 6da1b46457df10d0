// The mapped loader. It does what torch::jit::load does (read constants.pkl, then data.pkl,
// compiling types from code/ as the pickles name them), with storages over the mapping in place of
// copies.
#include "frontend/archive/TorchArchive.h"
#include "ATen/core/function.h"
#include "caffe2/serialize/inline_container.h"
#include "frontend/archive/PickleCheck.h"
#include "frontend/archive/SourceLocation.h"
#include "frontend/archive/TensorChecks.h"
#include "torch/csrc/jit/operator_upgraders/upgraders.h"
#include "torch/csrc/jit/operator_upgraders/upgraders_entry.h"
#include "torch/csrc/jit/serialization/import.h"
#include "torch/csrc/jit/serialization/import_source.h"
#include "torch/csrc/jit/serialization/unpickler.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CRC.h"
#include "llvm/Support/Path.h"

#include <cstring>
#include <mutex>
#include <stdexcept>

namespace plait {
namespace {

using c10::IValue;
using caffe2::serialize::PyTorchStreamReader;
using llvm::StringRef;
using torch::jit::Source;

namespace fs = llvm::sys::fs;

// The widest element (a complex double) must be aligned; torch itself writes records at multiples
// of 64.
constexpr uintptr_t requiredAlignment = 16;

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
  RecordReader(std::shared_ptr<const MappedFile> file, std::shared_ptr<const ArchiveLayout> layout)
      : file(std::move(file)), layout(std::move(layout)) {}

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
  }

private:
  std::pair<at::DataPtr, size_t> readCopy(const std::string &name, const ZipRecord &record) {
    std::scoped_lock lock(mutex);
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
};

/// LibTorch's message without the C++ stack, and advice for the usual causes.
std::string explain(const std::exception &error) {
  const auto *torchError = dynamic_cast<const c10::Error *>(&error);
  std::string text =
      StringRef(torchError ? torchError->what_without_backtrace() : error.what()).trim().str();
  if (StringRef(text).contains("Unknown builtin op") ||
      StringRef(text).contains("Unknown custom class") ||
      StringRef(text).contains("__torch__.torch.classes"))
    text +=
        "\nthe model uses an operator or class of a library that extends PyTorch; export it from a "
        "version of the model that is built from PyTorch's own operators";
  return text;
}

/// What is wrong with `path` before its bytes are looked at.
Error checkPath(StringRef path) {
  fs::file_status status;
  if (std::error_code code = fs::status(path, status))
    return makeError("cannot open it: {0}", code.message());
  if (status.type() == fs::file_type::directory_file) {
    llvm::SmallString<256> config(path);
    llvm::sys::path::append(config, "adapter_config.json");
    if (fs::exists(config))
      return makeError(
          "this is a PEFT adapter folder; give it as --adapter NAME={0}, beside the base "
          "model as --base FILE.pt",
          path);
    if (path.rtrim('/').ends_with(".mlpackage"))
      return makeError(
          "this is a Core ML package; a file written by torch.jit.save is expected here");
    return makeError("this is a folder; name the file in it that torch.jit.save wrote");
  }
  if (status.type() != fs::file_type::regular_file)
    return makeError(
        "this is not a regular file, and a model is mapped into memory; copy it to a file");
  return Error::success();
}

} // namespace

/// What an unpickler reads with: hands out `rest` from its front.
static auto readerOf(StringRef &rest) {
  return [&rest](char *buffer, size_t count) {
    count = std::min(count, rest.size());
    std::memcpy(buffer, rest.data(), count);
    rest = rest.drop_front(count);
    return count;
  };
}

class TorchArchiveLoader {
public:
  static Expected<LoadedModule> load(StringRef path, MappedFile::Access access) {
    if (auto error = checkPath(path))
      return error;
    LoadedModule result;
    auto file = MappedFile::open(path, access);
    if (!file)
      return file.takeError();
    auto layout = readArchiveLayout(llvm::toStringRef((*file)->bytes()),
                                    caffe2::serialize::kMaxSupportedFileFormatVersion);
    if (!layout)
      return layout.takeError();
    try {
      if (layout->legacy) {
        result.module = torch::jit::load(path.str(), at::kCPU);
        return result;
      }
      result.mapping = std::move(*file);
      result.layout = std::make_shared<const ArchiveLayout>(std::move(*layout));
      result.module = loadMapped(result);
      return result;
    } catch (const std::exception &error) {
      return makeError("LibTorch cannot load it: {0}", explain(error));
    }
  }

private:
  /// Operators that changed their meaning are replaced by their old form, as the archive's version
  /// asks. LibTorch compiles those forms first, which takes 20 ms, and few archives need one:
  /// compiling an archive that does fails as long as they are missing.
  static torch::jit::Module loadMapped(const LoadedModule &target) {
    if (!torch::jit::is_upgraders_map_populated()) {
      try {
        return TorchArchiveLoader(target.mapping, target.layout).loadModule();
      } catch (const std::exception &) {
        torch::jit::populate_upgraders_graph_map();
      }
    }
    return TorchArchiveLoader(target.mapping, target.layout).loadModule();
  }

  TorchArchiveLoader(const std::shared_ptr<const MappedFile> &file,
                     const std::shared_ptr<const ArchiveLayout> &layout)
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

/// The value of a torch.save archive's data.pkl.
static IValue unpickleTensors(const std::shared_ptr<const MappedFile> &file,
                              const std::shared_ptr<const ArchiveLayout> &layout) {
  RecordReader records(file, layout);
  auto pickle = records.text("data.pkl");
  if (!pickle)
    throw std::runtime_error("record 'data.pkl' is missing");
  if (auto error = checkPickle(*pickle))
    throw std::runtime_error(llvm::toString(std::move(error)));
  StringRef rest = *pickle;
  auto read = readerOf(rest);
  auto noTypes = [](const c10::QualifiedName &type) -> c10::StrongTypePtr {
    throw std::runtime_error("it holds an object of the class " + type.qualifiedName() +
                             ", and only tensors are read; save the state_dict alone");
  };
  auto noObjects = [](const c10::StrongTypePtr &,
                      const IValue &) -> c10::intrusive_ptr<c10::ivalue::Object> {
    throw std::runtime_error("it holds an object");
  };
  auto readStorage = [&](const std::string &key) { return records.storage("data/" + key); };
  torch::jit::Unpickler unpickler(read, noTypes, noObjects, readStorage, at::kCPU);
  IValue value = unpickler.parse_ivalue();
  checkTensorBounds(value, [&](const void *data) { return records.bytesBehind(data); });
  return value;
}

Expected<LoadedTensors> loadTorchTensors(StringRef path) {
  auto file = MappedFile::open(path, MappedFile::Access::ReadOnly);
  if (!file)
    return addContext(file.takeError(), path);
  auto directory = ZipDirectory::looksLikeZip(llvm::toStringRef((*file)->bytes()))
                       ? ZipDirectory::read(llvm::toStringRef((*file)->bytes()))
                       : makeError("it is no zip archive, as torch.save has written them since "
                                   "PyTorch 1.6; save it again, as safetensors where you can");
  if (!directory)
    return addContext(directory.takeError(), path);
  auto layout = std::make_shared<ArchiveLayout>(ArchiveLayout{std::move(*directory), {}, 0, false});
  if (!layout->directory.records().empty()) {
    StringRef first = layout->directory.records().front().name;
    layout->prefix = first.take_front(first.find('/') + 1).str();
  }
  LoadedTensors result{*file, {}};
  try {
    IValue value = unpickleTensors(*file, layout);
    if (!value.isGenericDict())
      return makeError("{0}: it holds no dictionary of tensors", path);
    for (const auto &entry : value.toGenericDict())
      if (entry.key().isString() && entry.value().isTensor())
        result.tensors.emplace_back(entry.key().toStringRef(), entry.value().toTensor());
      else
        return makeError("{0}: its dictionary holds something other than tensors by name", path);
  } catch (const std::exception &error) {
    return makeError("{0}: LibTorch cannot load it: {1}", path, explain(error));
  }
  return result;
}

std::optional<StorageOrigin> LoadedModule::findOrigin(const void *data) const {
  if (!mapping)
    return std::nullopt;
  auto bytes = mapping->bytes();
  const auto *byte = static_cast<const uint8_t *>(data);
  if (byte < bytes.begin() || byte >= bytes.end())
    return std::nullopt;
  const ZipRecord *record = layout->directory.storedRecordAt(byte - bytes.begin());
  if (!record)
    return std::nullopt;
  return StorageOrigin{mapping->id(), record->name.str(), record->offset, record->size,
                       record->crc32};
}

Error LoadedModule::checkContent(const void *data) const {
  auto origin = findOrigin(data);
  if (!origin)
    return Error::success();
  auto bytes = mapping->bytes().slice(origin->offset, origin->size);
  if (crc32Of(llvm::toStringRef(bytes)) != origin->crc32)
    return makeError(
        "{0}: record '{1}' is damaged (its CRC-32 does not match); copy or save the file again",
        mapping->path(), origin->record);
  return Error::success();
}

Expected<LoadedModule> loadTorchScript(StringRef path, MappedFile::Access access) {
  auto result = TorchArchiveLoader::load(path, access);
  if (!result)
    return addContext(result.takeError(), path);
  return result;
}

} // namespace plait
