// Finding the files of an adapter, and views of their tensors.
#include "frontend/adapter/AdapterFile.h"

#include "frontend/adapter/Safetensors.h"
#include "frontend/script/libtorch/TorchArchive.h"
#include "support/MappedFile.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using llvm::StringRef;
namespace fs = llvm::sys::fs;

static std::string inFolder(StringRef folder, StringRef name) {
  llvm::SmallString<256> path(folder);
  llvm::sys::path::append(path, name);
  return path.str().str();
}

/// What a folder without an adapter is, and which of its folders has one: PEFT saves an adapter
/// that has a name in a folder of that name.
static Error explainFolder(StringRef folder, size_t files) {
  std::vector<std::string> folders;
  bool sharded = false;
  std::error_code code;
  for (fs::directory_iterator it(folder, code), end; it != end && !code; it.increment(code)) {
    if (fs::exists(inFolder(it->path(), "adapter_config.json")))
      folders.push_back("'" + llvm::sys::path::filename(it->path()).str() + "'");
    sharded |= StringRef(it->path()).ends_with(".safetensors.index.json");
  }
  llvm::sort(folders);
  if (!folders.empty())
    return makeError("the folder has no adapter in it, but its folder{0} {1} {2}; give one of them",
                     folders.size() == 1 ? "" : "s", llvm::join(folders, ", "),
                     folders.size() == 1 ? "does" : "do");
  if (sharded)
    return makeError("the folder is a whole model in several files, and no adapter; trace the "
                     "model and give it as --function NAME=MODEL.pt");
  return makeError("the folder has {0}; a PEFT adapter is a folder with adapter_config.json and "
                   "adapter_model.safetensors, as save_pretrained writes it",
                   files == 0 ? "no adapter in it"
                              : "several safetensors files and no adapter_config.json");
}

/// The only safetensors file of a folder that PEFT did not write.
static Expected<std::string> onlySafetensors(StringRef folder) {
  std::vector<std::string> found;
  std::error_code code;
  for (fs::directory_iterator it(folder, code), end; it != end && !code; it.increment(code))
    if (StringRef(it->path()).ends_with(".safetensors"))
      found.push_back(it->path());
  if (found.size() == 1)
    return found[0];
  return explainFolder(folder, found.size());
}

static Expected<std::string> findWeights(StringRef path) {
  fs::file_status status;
  if (std::error_code code = fs::status(path, status))
    return makeError("{0}", fs::exists(status) ? code.message() : "no such file or folder");
  if (!fs::is_directory(status))
    return path.str();
  for (StringRef name : {"adapter_model.safetensors", "adapter_model.bin"})
    if (std::string file = inFolder(path, name); fs::exists(file))
      return file;
  if (fs::exists(inFolder(path, "adapter_config.json")))
    return makeError("the folder has an adapter_config.json, but neither adapter_model.safetensors "
                     "nor adapter_model.bin");
  return onlySafetensors(path);
}

Expected<std::shared_ptr<const AdapterFile>> AdapterFile::open(StringRef path) {
  auto file = std::make_shared<AdapterFile>();
  file->path_ = path.str();
  auto found = findWeights(path);
  if (!found)
    return addContext(found.takeError(), path);
  file->weightsPath_ = std::move(*found);
  // PEFT's file by itself means what its folder does: it has no alpha of its own.
  StringRef weights = file->weightsPath_, folder = llvm::sys::path::parent_path(weights);
  bool ofPeft = llvm::sys::path::filename(weights).starts_with("adapter_model.");
  std::string configPath = inFolder(folder, "adapter_config.json");
  if (ofPeft && fs::exists(configPath)) {
    auto text = llvm::MemoryBuffer::getFile(configPath, /*IsText=*/true);
    if (!text)
      return makeError("{0}: {1}", configPath, text.getError().message());
    auto config = AdapterConfig::parse((*text)->getBuffer());
    if (!config)
      return addContext(config.takeError(), configPath);
    file->config_ = std::move(*config);
  }
  Error error = StringRef(file->weightsPath_).ends_with(".safetensors") ? file->readSafetensors()
                                                                        : file->readPickle();
  if (error)
    return error;
  for (const auto &[key, tensor] : file->tensors_)
    if (StringRef(key).contains('\0'))
      return makeError("{0}: the name of tensor '{1}' goes on behind a zero byte",
                       file->weightsPath_, key.c_str());
  if (file->config_ && file->config_->adaptive)
    if (Error notFolded = file->foldSingularValues())
      return notFolded;
  if (file->tensors_.empty())
    return makeError("{0}: the adapter has no tensors", file->weightsPath_);
  return file;
}

AdapterKey AdapterFile::parse(StringRef key) const {
  auto [part, rest] = key.split('.');
  if (!parts_.count(part.str()))
    return parseAdapterKey(key, /*fromPeft=*/config_ || !parts_.empty());
  AdapterKey parsed = parseAdapterKey(rest, /*fromPeft=*/true);
  parsed.part = part.str();
  return parsed;
}

const std::optional<AdapterConfig> &AdapterFile::config(StringRef part) const {
  auto it = parts_.find(part.str());
  return it == parts_.end() ? config_ : it->second;
}

void AdapterFile::add(StringRef key, at::Tensor tensor,
                      std::shared_ptr<const mil::Storage> storage) {
  if (storage)
    storages_.try_emplace(tensor.const_data_ptr(), std::move(storage));
  tensors_.emplace_back(key.str(), std::move(tensor));
}

static at::ScalarType torchType(mil::DType dtype) {
  switch (dtype) {
  case mil::DType::Bool:
    return at::kBool;
  case mil::DType::U8:
    return at::kByte;
  case mil::DType::I8:
    return at::kChar;
  case mil::DType::I16:
    return at::kShort;
  case mil::DType::I32:
    return at::kInt;
  case mil::DType::I64:
    return at::kLong;
  case mil::DType::F16:
    return at::kHalf;
  case mil::DType::BF16:
    return at::kBFloat16;
  case mil::DType::F64:
    return at::kDouble;
  default:
    return at::kFloat;
  }
}

Error AdapterFile::readSafetensors() {
  auto mapping = MappedFile::open(weightsPath_);
  if (!mapping)
    return addContext(mapping.takeError(), weightsPath_);
  auto directory = Safetensors::read((*mapping)->bytes());
  if (!directory)
    return addContext(directory.takeError(), weightsPath_);
  auto metadata = directory->metadata.find("lora_adapter_metadata");
  if (!config_ && metadata != directory->metadata.end()) {
    auto configs = AdapterConfig::parseDiffusers(metadata->second);
    if (!configs)
      return addContext(configs.takeError(), weightsPath_ + ": lora_adapter_metadata");
    parts_.insert(configs->begin(), configs->end());
  }
  for (const SafetensorsEntry &entry : directory->entries) {
    if (!entry.dtype)
      return makeError("{0}: tensor '{1}' is of type {2}, which no Core ML weight can be made of; "
                       "save the adapter in float32, float16 or bfloat16",
                       weightsPath_, entry.name, entry.dtypeName);
    at::ScalarType dtype = torchType(*entry.dtype);
    auto *data = const_cast<uint8_t *>(entry.bytes.data());
    bool aligned = reinterpret_cast<uintptr_t>(data) % c10::elementSize(dtype) == 0;
    if (entry.bytes.empty() || !aligned) {
      at::Tensor copy = at::empty(entry.shape, dtype);
      std::memcpy(copy.mutable_data_ptr(), entry.bytes.data(), entry.bytes.size());
      add(entry.name, std::move(copy), nullptr);
      continue;
    }
    std::shared_ptr<const MappedFile> file = *mapping;
    at::Tensor tensor = at::from_blob(data, entry.shape, [file](void *) {}, at::dtype(dtype));
    auto storage = std::make_shared<mil::Storage>();
    storage->bytes = entry.bytes;
    storage->owner = file;
    storage->release = [bytes = entry.bytes, file = file.get()](size_t offset, size_t size) {
      file->release(bytes.slice(offset, size));
    };
    add(entry.name, std::move(tensor), std::move(storage));
  }
  return Error::success();
}

Error AdapterFile::foldSingularValues() {
  std::map<std::string, const at::Tensor *> values;
  for (const auto &[key, tensor] : tensors_)
    if (AdapterKey parsed = parse(key); parsed.factor == "lora_E")
      values[parsed.module] = &tensor;
  std::vector<std::pair<std::string, at::Tensor>> folded;
  for (const auto &[key, tensor] : tensors_) {
    AdapterKey parsed = parse(key);
    bool isFactor = parsed.factor == "lora_A" || parsed.factor == "lora_B";
    if (parsed.factor == "lora_E" || (isFactor && tensor.numel() == 0))
      continue;
    if (parsed.factor != "lora_A") {
      folded.emplace_back(key, tensor);
      continue;
    }
    const at::Tensor *scale = values[parsed.module];
    if (!scale || !at::isFloatingType(scale->scalar_type()) || scale->dim() != 2 ||
        scale->size(1) != 1 || tensor.dim() != 2 || scale->size(0) != tensor.size(0))
      return makeError("{0}: tensor '{1}' has no lora_E of its rank", weightsPath_, key);
    folded.emplace_back(key, tensor.to(at::kFloat) * scale->to(at::kFloat));
  }
  tensors_ = std::move(folded);
  return Error::success();
}

Error AdapterFile::readPickle() {
  auto loaded = loadTorchTensors(weightsPath_);
  if (!loaded)
    return loaded.takeError();
  for (auto &[key, tensor] : loaded->tensors) {
    auto owner = std::make_shared<const at::Storage>(tensor.storage());
    auto storage = std::make_shared<mil::Storage>();
    storage->bytes = {static_cast<const uint8_t *>(owner->data()), owner->nbytes()};
    storage->owner = owner;
    if (tensor.storage_offset() == 0)
      add(key, tensor, std::move(storage));
    else
      add(key, tensor.contiguous(), nullptr);
  }
  return Error::success();
}

} // namespace plait::frontend
