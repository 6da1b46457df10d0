// Copying the objects of a module, not its tensors.
#include "frontend/live/ModuleView.h"

#include "llvm/ADT/DenseMap.h"

namespace plait::frontend {

using c10::IValue;
using ObjectPtr = c10::intrusive_ptr<c10::ivalue::Object>;

namespace {

class Copier {
public:
  explicit Copier(HostTensors &host) : host_(host) {}

  ObjectPtr copy(const ObjectPtr &object) {
    auto [it, isNew] = copies_.try_emplace(object.get());
    if (!isNew)
      return it->second;
    ObjectPtr result = object->copy();
    it->second = result;
    c10::ClassTypePtr type = object->type();
    for (size_t i = 0; i < type->numAttributes() && i < object->slots().size(); ++i) {
      if (type->is_module() && type->getAttributeName(i) == "training" &&
          object->getSlot(i).isBool())
        result->setSlot(i, false);
      else if (auto changed = convert(object->getSlot(i)))
        result->setSlot(i, std::move(*changed));
    }
    return result;
  }

  Error takeError() { return error_ ? std::move(*error_) : Error::success(); }

private:
  /// What `value` becomes; nullopt: it stays itself.
  std::optional<IValue> convert(const IValue &value) {
    if (value.isTensor()) {
      const at::Tensor &tensor = value.toTensor();
      if (!tensor.defined() || tensor.device().is_cpu())
        return std::nullopt;
      auto onHost = host_.get(tensor);
      if (onHost)
        return IValue(std::move(*onHost));
      if (error_)
        llvm::consumeError(onHost.takeError());
      else
        error_.emplace(onHost.takeError());
      return std::nullopt;
    }
    if (value.isObject())
      return IValue(copy(value.toObject()));
    if (value.isTuple()) {
      auto elements = convertAll(value.toTupleRef().elements());
      if (!elements)
        return std::nullopt;
      return IValue(c10::ivalue::Tuple::createNamed(std::move(*elements), value.toTuple()->type()));
    }
    if (value.isList()) {
      auto elements = convertAll(value.toListRef());
      if (!elements)
        return std::nullopt;
      c10::impl::GenericList list(value.toList().elementType());
      for (IValue &element : *elements)
        list.push_back(std::move(element));
      return IValue(std::move(list));
    }
    if (value.isGenericDict()) {
      auto source = value.toGenericDict();
      c10::impl::GenericDict dict(source.keyType(), source.valueType());
      bool changed = false;
      for (const auto &entry : source) {
        auto element = convert(entry.value());
        changed |= element.has_value();
        dict.insert(entry.key(), element ? std::move(*element) : entry.value());
      }
      return changed ? std::optional<IValue>(std::move(dict)) : std::nullopt;
    }
    return std::nullopt;
  }

  std::optional<std::vector<IValue>> convertAll(c10::ArrayRef<IValue> values) {
    std::vector<IValue> result(values.begin(), values.end());
    bool changed = false;
    for (IValue &value : result)
      if (auto converted = convert(value)) {
        value = std::move(*converted);
        changed = true;
      }
    return changed ? std::optional(std::move(result)) : std::nullopt;
  }

  HostTensors &host_;
  llvm::DenseMap<const void *, ObjectPtr> copies_;
  std::optional<Error> error_;
};

} // namespace

Expected<torch::jit::Module> viewOnHost(const torch::jit::Module &module, HostTensors &host) {
  Copier copier(host);
  ObjectPtr view = copier.copy(module._ivalue());
  if (Error error = copier.takeError())
    return error;
  return torch::jit::Module(std::move(view));
}

} // namespace plait::frontend
