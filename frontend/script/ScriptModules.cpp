// The walk over a module's attributes.
#include "frontend/script/ScriptModules.h"

#include "frontend/engine/Engine.h"
#include "frontend/engine/StoredType.h"
#include "frontend/script/Layer.h"

#include "llvm/ADT/DenseMap.h"

namespace plait::frontend {

namespace {

/// Deeper or larger than any model: an archive that was made to be.
constexpr unsigned kMaxDepth = 100;
constexpr size_t kMaxModules = 1000000;

using Object = c10::ivalue::Object;

class Describer {
public:
  Describer(mil::ModuleTree &tree,
            llvm::function_ref<std::shared_ptr<const mil::Storage>(const at::Tensor &)> storageOf,
            llvm::function_ref<mil::Origin(const at::Tensor &)> originOf)
      : tree_(tree), storageOf_(storageOf), originOf_(originOf) {}

  std::optional<unsigned> add(const std::string &path, const Object &object, unsigned depth) {
    if (depth > kMaxDepth || tree_.entries().size() > kMaxModules)
      return std::nullopt;
    auto [it, isNew] = numbers_.try_emplace(&object, 0);
    if (isNew)
      it->second = tree_.addModule(describe(object));
    unsigned number = it->second;
    tree_.addPath(path, number);
    auto type = object.type();
    for (size_t slot = 0; slot < type->numAttributes(); ++slot) {
      const c10::IValue &value = object.getSlot(slot);
      if (!value.isObject() || !value.toObjectRef().type()->is_module())
        continue;
      const std::string &name = type->getAttributeName(slot);
      auto child = add(path.empty() ? name : path + "." + name, value.toObjectRef(), depth + 1);
      if (child && isNew)
        tree_.edit(number).children.emplace_back(name, *child);
    }
    return number;
  }

private:
  mil::ModuleInfo describe(const Object &object) {
    mil::ModuleInfo info;
    auto type = object.type();
    info.type = type->name()->name();
    info.callable = type->findMethod("forward");
    info.calledAgain = type->findMethod("forward1");
    for (size_t slot = 0; slot < type->numAttributes(); ++slot)
      if (const c10::IValue &value = object.getSlot(slot); value.isTensor())
        if (auto tensor = view(value.toTensor()))
          info.tensors.emplace_back(type->getAttributeName(slot), std::move(*tensor));
    // Only what has a weight, or computes one of others (weight_norm), is a layer.
    if (info.find("weight") || info.find("weight_v") || type->findAttributeSlot("parametrizations"))
      info.layer = findLayer(object);
    return info;
  }

  std::optional<mil::TensorData> view(const at::Tensor &tensor) {
    if (!tensor.defined() || tensor.layout() != at::kStrided || tensor.is_quantized() ||
        tensor.is_conj() || tensor.is_neg())
      return std::nullopt;
    auto dtype = storedType(tensor.scalar_type());
    if (!dtype)
      return std::nullopt;
    std::shared_ptr<const mil::Storage> storage = storageOf_(tensor);
    if (!storage) {
      auto &owned = owned_[tensor.storage().unsafeGetStorageImpl()];
      if (!owned)
        owned = Engine::storageOf(tensor);
      storage = owned;
    }
    uint64_t offset = tensor.numel() ? static_cast<const uint8_t *>(tensor.const_data_ptr()) -
                                           static_cast<const uint8_t *>(tensor.storage().data())
                                     : 0;
    return mil::TensorData::view(std::move(storage), offset, *dtype, tensor.sizes().vec(),
                                 tensor.strides().vec(), originOf_(tensor));
  }

  mil::ModuleTree &tree_;
  llvm::function_ref<std::shared_ptr<const mil::Storage>(const at::Tensor &)> storageOf_;
  llvm::function_ref<mil::Origin(const at::Tensor &)> originOf_;
  llvm::DenseMap<const Object *, unsigned> numbers_;
  llvm::DenseMap<const void *, std::shared_ptr<const mil::Storage>> owned_;
};

} // namespace

mil::ModuleTree describeModules(
    const torch::jit::Module &root,
    llvm::function_ref<std::shared_ptr<const mil::Storage>(const at::Tensor &)> storageOf,
    llvm::function_ref<mil::Origin(const at::Tensor &)> originOf) {
  mil::ModuleTree tree;
  Describer(tree, storageOf, originOf).add("", *root._ivalue(), 0);
  return tree;
}

} // namespace plait::frontend
