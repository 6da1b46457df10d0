// Opening archives: what is wrong with the file is said first; then it is mapped and unpickled by
// internal/MappedArchive, or, without it, read by LibTorch's public functions.
#include "frontend/script/libtorch/TorchArchive.h"
#include "frontend/archive/PickleCheck.h"
#include "frontend/archive/RecordCheck.h"
#include "frontend/script/libtorch/Internals.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CRC.h"
#include "llvm/Support/Path.h"

#include <torch/csrc/jit/serialization/import.h>
#include <torch/serialize.h>

namespace plait {
namespace {

using c10::IValue;
using llvm::StringRef;

namespace fs = llvm::sys::fs;

uint32_t crc32Of(StringRef bytes) { return llvm::crc32(llvm::arrayRefFromStringRef(bytes)); }

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
  // What follows asks for a report to PyTorch, but is only a value that no C++ reader knows.
  if (auto [condition, rest] = StringRef(text).split("INTERNAL ASSERT FAILED"); !rest.empty())
    text = "it holds a value that LibTorch cannot read, such as a tensor of a subclass (" +
           condition.trim().str() +
           " does not hold); save plain tensors, {k: v.detach().clone().as_subclass(torch.Tensor) "
           "for k, v in state_dict.items()}, as safetensors where you can";
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

/// Pickles that LibTorch is to read whole, so that a damaged one does not make it allocate what it
/// claims. Compressed ones are LibTorch's affair.
void checkPickles(const MappedFile &file, const ArchiveLayout &layout) {
  for (StringRef name : {"constants.pkl", "data.pkl"})
    if (const ZipRecord *record = layout.find(name); record && !record->compressed)
      if (auto error =
              checkPickle(llvm::toStringRef(file.bytes().slice(record->offset, record->size))))
        throw std::runtime_error((name + ": " + toString(std::move(error))).str());
}

IValue loadTensors(const std::shared_ptr<const MappedFile> &file,
                   const std::shared_ptr<const ArchiveLayout> &layout) {
  if (const libtorch::Internals *internals = libtorch::internals())
    return internals->loadTensors(file, layout);
  checkPickles(*file, *layout);
  StringRef bytes = llvm::toStringRef(file->bytes());
  return torch::pickle_load(std::vector<char>(bytes.begin(), bytes.end()));
}

} // namespace

class TorchArchiveLoader {
public:
  static Expected<LoadedModule> load(StringRef path, MappedFile::Access access) {
    if (auto error = checkPath(path))
      return error;
    LoadedModule result;
    auto file = MappedFile::open(path, access);
    if (!file)
      return file.takeError();
    const libtorch::Internals *internals = libtorch::internals();
    auto layout = readArchiveLayout(llvm::toStringRef((*file)->bytes()),
                                    internals ? internals->maxArchiveVersion : UINT64_MAX);
    if (!layout)
      return layout.takeError();
    try {
      if (layout->legacy || !internals) {
        if (!layout->legacy)
          checkPickles(**file, *layout);
        result.module = torch::jit::load(path.str(), at::kCPU);
        return result;
      }
      result.mapping = std::move(*file);
      result.layout = std::make_shared<const ArchiveLayout>(std::move(*layout));
      result.module = internals->loadModule(result.mapping, result.layout);
      return result;
    } catch (const std::exception &error) {
      return makeError("LibTorch cannot load it: {0}", explain(error));
    }
  }
};

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
  if (Error error = checkRecords(*file, *directory))
    return error;
  auto layout = std::make_shared<ArchiveLayout>(ArchiveLayout{std::move(*directory), {}, 0, false});
  if (!layout->directory.records().empty()) {
    StringRef first = layout->directory.records().front().name;
    layout->prefix = first.take_front(first.find('/') + 1).str();
  }
  LoadedTensors result{*file, {}};
  try {
    IValue value = loadTensors(*file, layout);
    if (!value.isGenericDict())
      return makeError("{0}: it holds no dictionary of tensors", path);
    for (const auto &entry : value.toGenericDict()) {
      if (!entry.key().isString() || !entry.value().isTensor())
        return makeError("{0}: its dictionary holds something other than tensors by name; save the "
                         "dictionary that get_peft_model_state_dict gives",
                         path);
      const std::string &key = entry.key().toStringRef();
      at::Tensor tensor = entry.value().toTensor();
      if (!tensor.defined() || tensor.layout() != at::kStrided || tensor.is_quantized())
        return makeError("{0}: tensor '{1}' is sparse or quantized; save it as a dense one of "
                         "floating-point numbers",
                         path, key);
      // Whoever reads the bytes does not see that a bit of the tensor negates them.
      result.tensors.emplace_back(key, tensor.resolve_conj().resolve_neg());
    }
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
