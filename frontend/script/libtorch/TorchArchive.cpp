// Opening archives: what is wrong with the file is said first; then it is mapped and unpickled by
// internal/MappedArchive, or, without it, read by LibTorch's public functions.
#include "frontend/script/libtorch/TorchArchive.h"
#include "frontend/archive/PickleCheck.h"
#include "frontend/script/libtorch/Internals.h"
#include "frontend/script/libtorch/QuantizedOperators.h"
#include "frontend/script/libtorch/VisionOperators.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CRC.h"
#include "llvm/Support/Path.h"

#include <torch/csrc/jit/serialization/import.h>

namespace plait {
namespace {

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
    return makeError(Code::FileUnreadable, "cannot open it: {0}", code.message());
  if (status.type() == fs::file_type::directory_file) {
    llvm::SmallString<256> config(path);
    llvm::sys::path::append(config, "adapter_config.json");
    if (fs::exists(config))
      return makeError(
          Code::NotAModel,
          "this is a PEFT adapter folder; give it as --adapter NAME={0}, beside the base "
          "model as --base FILE.pt",
          path);
    if (path.rtrim('/').ends_with(".mlpackage"))
      return makeError(
          Code::NotAModel,
          "this is a Core ML package; a file written by torch.jit.save is expected here");
    return makeError(Code::NotAModel,
                     "this is a folder; name the file in it that torch.jit.save wrote");
  }
  if (status.type() != fs::file_type::regular_file)
    return makeError(
        Code::NotAModel,
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

} // namespace

/// What `load` gives, with the operators of other libraries declared where it asks for them.
template <typename Load> static auto withOperators(Load load) {
  for (bool last : {false, false, true}) {
    try {
      return load();
    } catch (const std::exception &error) {
      if (!last && frontend::lacksVisionOperator(error.what()))
        frontend::declareVisionOperators();
      else if (!last && frontend::isOfQuantizedOperators(error.what()))
        frontend::declareQuantizedOperators();
      else
        throw;
    }
  }
  llvm_unreachable("the last attempt gives a model or an exception");
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
    const libtorch::Internals *internals = libtorch::internals();
    auto layout = readArchiveLayout(llvm::toStringRef((*file)->bytes()),
                                    internals ? internals->maxArchiveVersion : UINT64_MAX);
    if (!layout)
      return layout.takeError();
    try {
      if (layout->legacy || !internals) {
        if (!layout->legacy)
          checkPickles(**file, *layout);
        result.module = withOperators([&] { return torch::jit::load(path.str(), at::kCPU); });
        return result;
      }
      result.mapping = std::move(*file);
      result.layout = std::make_shared<const ArchiveLayout>(std::move(*layout));
      result.module =
          withOperators([&] { return internals->loadModule(result.mapping, result.layout); });
      return result;
    } catch (const std::runtime_error &error) { // of plait's own readers
      return makeError(Code::ArchiveDamaged, "LibTorch cannot load it: {0}", explain(error));
    } catch (const std::exception &error) {
      return makeError(Code::ArchiveVersion, "LibTorch cannot load it: {0}", explain(error));
    }
  }
};

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
        Code::ArchiveDamaged,
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
