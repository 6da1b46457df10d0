// Models with other values of their parameters, for LibTorch to run; tensors that torch.save wrote.
#include "frontend/Frontend.h"
#include "frontend/engine/Engine.h"
#include "frontend/engine/StoredType.h"
#include "frontend/script/libtorch/TorchArchive.h"
#include "support/TorchMessage.h"

#include <ATen/ATen.h>

namespace plait::frontend {

/// Puts the values, converted, in place of what the attribute at a path holds.
static Error setParameter(torch::jit::Module &root, const ParameterValue &parameter) {
  auto [path, name] = llvm::StringRef(parameter.path).contains('.')
                          ? llvm::StringRef(parameter.path).rsplit('.')
                          : std::pair(llvm::StringRef(), llvm::StringRef(parameter.path));
  c10::intrusive_ptr<c10::ivalue::Object> object = root._ivalue();
  while (!path.empty()) {
    auto [first, rest] = path.split('.');
    object = object->getAttr(first.str()).toObject();
    path = rest;
  }
  size_t slot = object->type()->getAttributeSlot(name.str());
  auto bytes = parameter.value.cast(mil::DType::F32).bytes();
  if (!bytes)
    return bytes.takeError();
  auto shape = parameter.value.shape();
  at::Tensor tensor = at::empty(at::IntArrayRef(shape.data(), shape.size()), at::kFloat);
  std::copy(bytes->begin(), bytes->end(), static_cast<uint8_t *>(tensor.mutable_data_ptr()));
  object->setSlot(slot, tensor.to(object->getSlot(slot).toTensor().scalar_type()));
  return Error::success();
}

static Expected<std::shared_ptr<torch::jit::Module>> load(llvm::StringRef path,
                                                          std::vector<ParameterValue> values) {
  auto loaded = loadTorchScript(path, MappedFile::Access::CopyOnWrite);
  if (!loaded)
    return loaded.takeError();
  auto kept = std::make_shared<LoadedModule>(std::move(*loaded));
  torch::jit::Module &module = kept->module;
  module.eval();
  bool narrow = false, wide = false;
  for (const at::Tensor &parameter : module.parameters()) {
    bool isNarrow =
        parameter.scalar_type() == at::kHalf || parameter.scalar_type() == at::kBFloat16;
    narrow |= isNarrow;
    wide |= !isNarrow && parameter.is_floating_point();
  }
  // A model that mixes types casts between them in its code, and so runs as it is only.
  if (narrow && (!wide || !values.empty()))
    module.to(at::kFloat);
  for (ParameterValue &value : values) {
    if (Error error = setParameter(module, value))
      return error;
    value.value = {}; // the module has a copy
  }
  return std::shared_ptr<torch::jit::Module>(kept, &module);
}

Expected<std::shared_ptr<torch::jit::Module>>
moduleWithParameters(llvm::StringRef path, std::vector<ParameterValue> values) {
  at::NoGradGuard noGrad;
  try {
    return load(path, std::move(values));
  } catch (const c10::Error &error) {
    return makeError(Code::ModelRaises, "{0}: {1}", path,
                     torchMessage(error.what_without_backtrace()));
  }
}

} // namespace plait::frontend
