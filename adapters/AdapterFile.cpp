// Finding the files of an adapter, and views of their tensors.
#include "adapters/AdapterFile.h"

#include "adapters/Safetensors.h"
#include "adapters/Tensors.h"
#include "mil/MappedStorage.h"
#include "support/DidYouMean.h"
#include "support/MappedFile.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

namespace plait::adapters {

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
    return makeError(Code::NotAnAdapter,
                     "the folder has no adapter in it, but its folder{0} {1} {2}; give one of them",
                     folders.size() == 1 ? "" : "s", llvm::join(folders, ", "),
                     folders.size() == 1 ? "does" : "do");
  if (sharded)
    return makeError(Code::NotAnAdapter,
                     "the folder is a whole model in several files, and no adapter; trace the "
                     "model and give it as --function NAME=MODEL.pt");
  return makeError(Code::NotAnAdapter,
                   "the folder has {0}; a PEFT adapter is a folder with adapter_config.json and "
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
    return makeError(Code::FileUnreadable, "{0}",
                     fs::exists(status) ? code.message()
                                        : "no such file or folder" + didYouMeanFile(path));
  if (!fs::is_directory(status))
    return path.str();
  for (StringRef name : {"adapter_model.safetensors", "adapter_model.bin", "adapters.safetensors"})
    if (std::string file = inFolder(path, name); fs::exists(file))
      return file;
  if (fs::exists(inFolder(path, "adapters.npz")))
    return makeError(
        Code::NotAnAdapter,
        "the folder has adapters.npz, as examples of MLX wrote it before mlx-lm; train "
        "or convert the adapter with mlx-lm, which writes adapters.safetensors");
  if (fs::exists(inFolder(path, "adapter_config.json")))
    return makeError(Code::NotAnAdapter,
                     "the folder has an adapter_config.json, but none of adapter_model.safetensors "
                     "and adapter_model.bin (of PEFT) and adapters.safetensors (of MLX)");
  return onlySafetensors(path);
}

Expected<std::shared_ptr<const AdapterFile>> AdapterFile::open(StringRef path,
                                                               const ReadPickle &readPickle) {
  auto file = std::make_shared<AdapterFile>();
  file->path_ = path.str();
  auto found = findWeights(path);
  if (!found)
    return addContext(found.takeError(), path);
  file->weightsPath_ = std::move(*found);
  // PEFT's file by itself means what its folder does: it has no alpha of its own.
  StringRef weights = file->weightsPath_, folder = llvm::sys::path::parent_path(weights);
  StringRef name = llvm::sys::path::filename(weights);
  // MLX keeps copies of earlier steps beside it: 0000100_adapters.safetensors.
  bool hasConfig = name.starts_with("adapter_model.") || name.ends_with("adapters.safetensors");
  std::string configPath = inFolder(folder, "adapter_config.json");
  if (hasConfig && fs::exists(configPath)) {
    auto text = llvm::MemoryBuffer::getFile(configPath, /*IsText=*/true);
    if (!text)
      return makeError(Code::FileUnreadable, "{0}: {1}", configPath, text.getError().message());
    auto config = AdapterConfig::parse((*text)->getBuffer());
    if (!config)
      return addContext(config.takeError(), configPath);
    file->config_ = std::move(*config);
  }
  if (StringRef(file->weightsPath_).ends_with(".safetensors")) {
    if (Error error = file->readSafetensors())
      return error;
  } else {
    auto tensors = readPickle(file->weightsPath_);
    if (!tensors)
      return tensors.takeError();
    file->tensors_ = std::move(*tensors);
  }
  for (const auto &[key, tensor] : file->tensors_)
    if (StringRef(key).contains('\0'))
      return makeError(Code::AdapterTensor,
                       "{0}: the name of tensor '{1}' goes on behind a zero byte",
                       file->weightsPath_, key.c_str());
  if (file->config_ && file->config_->adaptive)
    if (Error notFolded = file->foldSingularValues())
      return notFolded;
  if (file->config_ && file->config_->mlxScale)
    if (Error error = file->transposeFactors())
      return error;
  for (const auto &[key, tensor] : file->tensors_)
    if (AdapterKey parsed = file->parse(key); parsed.ofDiffusers)
      file->diffusersParts_.insert(parsed.part);
  // They are weights, though the model has no name for them.
  for (auto &[key, tensor] : file->tensors_)
    tensor = tensor.withOrigin(mil::Origin::unnamed());
  if (file->tensors_.empty())
    return makeError(Code::AdapterTensor, "{0}: the adapter has no tensors", file->weightsPath_);
  return file;
}

AdapterKey AdapterFile::parse(StringRef key) const {
  auto [part, rest] = key.split('.');
  if (!parts_.count(part.str()))
    return parseAdapterKey(key, config_ && config_->mlxScale ? KeyForm::Mlx
                                : config_ || !parts_.empty() ? KeyForm::Peft
                                                             : KeyForm::Other);
  AdapterKey parsed = parseAdapterKey(rest, KeyForm::Peft);
  parsed.part = part.str();
  return parsed;
}

const std::optional<AdapterConfig> &AdapterFile::config(StringRef part) const {
  auto it = parts_.find(part.str());
  return it == parts_.end() ? config_ : it->second;
}

bool AdapterFile::isOfDiffusers(const AdapterKey &key, bool isModule) const {
  return key.ofDiffusers && (key.part.empty() || !isModule || diffusersParts_.size() > 1);
}

/// [in, r] and [r, out] become [r, in] and [out, r]. Layers of experts have three axes.
Error AdapterFile::transposeFactors() {
  for (auto &[key, tensor] : tensors_) {
    AdapterKey parsed = parse(key);
    if (parsed.factor != "lora_A" && parsed.factor != "lora_B")
      continue;
    if (tensor.rank() != 2)
      return makeError(Code::AdapterKind,
                       "{0}: tensor '{1}' is {2}: an adapter of MLX on a layer of experts, which "
                       "is not supported; fuse it into the model (mlx_lm.fuse), trace that and "
                       "give it as --function NAME=MODEL.pt",
                       weightsPath_, key, shapeText(tensor.shape()));
    tensor = tensor.permute({1, 0});
  }
  return Error::success();
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
      return makeError(Code::AdapterTensor,
                       "{0}: tensor '{1}' is of type {2}, which no Core ML weight can be made of; "
                       "save the adapter in float32, float16 or bfloat16",
                       weightsPath_, entry.name, entry.dtypeName);
    if (reinterpret_cast<uintptr_t>(entry.bytes.data()) % (mil::bitWidth(*entry.dtype) / 8)) {
      tensors_.emplace_back(entry.name,
                            TensorData::fromBytes(*entry.dtype, entry.shape, entry.bytes.vec()));
      continue;
    }
    tensors_.emplace_back(entry.name, TensorData::view(mil::mappedStorage(*mapping, entry.bytes), 0,
                                                       *entry.dtype, entry.shape));
  }
  return Error::success();
}

Error AdapterFile::foldSingularValues() {
  std::map<std::string, const TensorData *> values;
  for (const auto &[key, tensor] : tensors_)
    if (AdapterKey parsed = parse(key); parsed.factor == "lora_E")
      values[parsed.module] = &tensor;
  NamedTensors folded;
  for (const auto &[key, tensor] : tensors_) {
    AdapterKey parsed = parse(key);
    bool isFactor = parsed.factor == "lora_A" || parsed.factor == "lora_B";
    if (parsed.factor == "lora_E" || (isFactor && tensor.numElements() == 0))
      continue;
    if (parsed.factor != "lora_A") {
      folded.emplace_back(key, tensor);
      continue;
    }
    const TensorData *scale = values[parsed.module];
    if (!scale || !mil::isFloat(scale->dtype()) || scale->rank() != 2 || scale->shape()[1] != 1 ||
        tensor.rank() != 2 || scale->shape()[0] != tensor.shape()[0])
      return makeError(Code::AdapterTensor, "{0}: tensor '{1}' has no lora_E of its rank",
                       weightsPath_, key);
    std::vector<float> rows = floatsOf(tensor), factors = floatsOf(*scale);
    int64_t width = tensor.shape()[1];
    for (size_t i = 0; i < rows.size(); ++i)
      rows[i] *= factors[i / width];
    folded.emplace_back(key, ofFloats(tensor.shape(), rows));
  }
  tensors_ = std::move(folded);
  return Error::success();
}

} // namespace plait::adapters
