// Storages that point into the file, tensors on them, and objects that have the tensors.
#include "frontend/exported/ExportedModel.h"

#include "frontend/exported/SchemaTypes.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"

#include <ATen/ATen.h>

namespace plait::frontend {

/// Deeper than any module.
static constexpr unsigned kMostLevels = 100;

/// One tensor of bytes for a storage.
static at::Tensor bytesTensor(const std::shared_ptr<const RecordBytes> &record) {
  return at::from_blob(
      const_cast<uint8_t *>(record->bytes.data()), {int64_t(record->bytes.size())},
      [record](void *) {}, at::TensorOptions(at::kByte));
}

Error ExportedModel::addAttribute(const std::string &path, const at::Tensor &tensor,
                                  bool isParameter, bool isConstant) {
  llvm::SmallVector<llvm::StringRef, 8> names;
  llvm::StringRef(path).split(names, '.');
  auto clash = [&] {
    return makeError(Code::ArchiveDamaged,
                     "'{0}' cannot be the path of a tensor of this model; save the archive again",
                     path);
  };
  if (names.size() > kMostLevels || llvm::any_of(names, [](auto name) { return name.empty(); }))
    return clash();
  std::string at;
  torch::jit::Module module = *root_;
  for (llvm::StringRef name : llvm::ArrayRef(names).drop_back()) {
    at += (at.empty() ? "" : ".") + name.str();
    auto it = modules_.find(at);
    if (it == modules_.end()) {
      if (module.hasattr(name.str()))
        return clash();
      torch::jit::Module child(c10::QualifiedName("__torch__.Exported"),
                               module._ivalue()->compilation_unit(),
                               /*shouldMangle=*/true);
      module.register_module(name.str(), child);
      it = modules_.emplace(at, child).first;
    }
    module = it->second;
  }
  std::string last = names.back().str();
  if (module.hasattr(last))
    return clash();
  if (isParameter)
    module.register_parameter(last, tensor, /*is_buffer=*/false);
  else
    module.register_buffer(last, tensor);
  (isConstant ? constants_ : weights_)[path] = {module._ivalue(),
                                                module._ivalue()->type()->getAttributeSlot(last)};
  return Error::success();
}

Error ExportedModel::addTensors(const std::map<std::string, ExportedTensor> &tensors,
                                bool areConstants) {
  llvm::StringSet<> parameters;
  for (const exported::InputSpec &spec : data_.program.inputs)
    if (spec.kind == exported::InputSpec::Kind::Parameter)
      parameters.insert(spec.target);
  for (const auto &[path, one] : tensors) {
    if (!one.problem.empty())
      continue;
    auto dtype = exportedScalarType(one.dtype);
    if (!dtype)
      continue; // problemOf() says so where it is needed
    bool empty = llvm::is_contained(one.sizes, 0);
    at::Tensor tensor =
        at::empty(empty ? at::IntArrayRef(one.sizes) : at::IntArrayRef({0}), *dtype);
    if (!empty) {
      at::Tensor &bytes = storages_[one.storage.get()];
      if (!bytes.defined())
        bytes = bytesTensor(one.storage);
      tensor.set_(bytes.storage(), one.offset, one.sizes, one.strides);
      if (one.storage->mapped)
        records_[one.storage->bytes.data()] = one.storage.get();
    }
    if (Error error = addAttribute(path, tensor, parameters.contains(path), areConstants))
      return error;
  }
  return Error::success();
}

Expected<std::shared_ptr<const ExportedModel>> ExportedModel::load(llvm::StringRef path,
                                                                   MappedFile::Access access) {
  ModelPath parts = splitModelPath(path);
  auto file = MappedFile::open(parts.file, access);
  if (!file)
    return addContext(file.takeError(), parts.file);
  auto archive = ExportArchive::open(*file);
  if (!archive)
    return addContext(archive.takeError(), parts.file);
  auto data = archive->read(parts.model);
  if (!data)
    return addContext(data.takeError(), path);
  std::shared_ptr<ExportedModel> model(new ExportedModel());
  model->file_ = std::move(*file);
  model->data_ = std::move(*data);
  at::NoGradGuard noGrad;
  model->root_.emplace("__torch__.Exported");
  for (bool constants : {false, true})
    if (Error error =
            model->addTensors(constants ? model->data_.constants : model->data_.weights, constants))
      return addContext(std::move(error), path);
  return std::shared_ptr<const ExportedModel>(std::move(model));
}

const ExportedModel::Place *ExportedModel::find(const exported::InputSpec &spec) const {
  // What is no part of the state dictionary is among the constants.
  bool saved = spec.kind == exported::InputSpec::Kind::Parameter ||
               (spec.kind == exported::InputSpec::Kind::Buffer && spec.persistent);
  for (const auto *places : {saved ? &weights_ : &constants_, saved ? &constants_ : &weights_})
    if (auto it = places->find(spec.target); it != places->end())
      return &it->second;
  return nullptr;
}

at::Tensor ExportedModel::tensorOf(const exported::InputSpec &spec) const {
  const Place *place = find(spec);
  return place ? place->object->getSlot(place->slot).toTensor() : at::Tensor();
}

std::string ExportedModel::problemOf(const exported::InputSpec &spec) const {
  for (const auto *tensors : {&data_.weights, &data_.constants}) {
    auto it = tensors->find(spec.target);
    if (it == tensors->end())
      continue;
    return it->second.problem.empty() ? "LibTorch has no elements of its type" : it->second.problem;
  }
  return "the archive does not hold it; export the model with its weights, and save it again";
}

const RecordBytes *ExportedModel::recordAt(const void *data) const {
  auto *byte = static_cast<const uint8_t *>(data);
  auto it = records_.upper_bound(byte);
  if (it == records_.begin())
    return nullptr;
  const RecordBytes *record = std::prev(it)->second;
  return byte < record->bytes.end() ? record : nullptr;
}

} // namespace plait::frontend
