// TorchScript models as references.
#include "runtime/Reference.h"

#include "runtime/NarrowArithmetic.h"
#include "runtime/ReferenceArguments.h"
#include "runtime/ReferenceModule.h"
#include "runtime/Tensors.h"
#include "runtime/WeightPages.h"
#include "support/TorchMessage.h"

#include "llvm/ADT/SmallPtrSet.h"

namespace plait::runtime {

using mil::DType;
using mil::TensorData;

std::optional<DType> milType(at::ScalarType type) {
  switch (type) {
  case at::kFloat:
    return DType::F32;
  case at::kDouble:
    return DType::F64;
  case at::kHalf:
    return DType::F16;
  case at::kLong:
    return DType::I64;
  case at::kInt:
    return DType::I32;
  case at::kShort:
    return DType::I16;
  case at::kChar:
    return DType::I8;
  case at::kByte:
    return DType::U8;
  case at::kBool:
    return DType::Bool;
  default:
    return std::nullopt;
  }
}

static Error flatten(const c10::IValue &value, std::vector<TensorData> &outputs) {
  if (value.isTensor()) {
    at::Tensor tensor = value.toTensor().detach();
    // Two outputs, as the compiled function has them.
    if (tensor.is_complex()) {
      if (Error error = flatten(at::real(tensor), outputs))
        return error;
      return flatten(at::imag(tensor), outputs);
    }
    if (tensor.scalar_type() == at::kBFloat16)
      tensor = tensor.to(at::kFloat);
    auto dtype = milType(tensor.scalar_type());
    if (!dtype)
      return makeError(Code::NotComparable, "the model returns a tensor of {0}",
                       c10::toString(tensor.scalar_type()));
    outputs.push_back(toTensorData(tensor, *dtype));
    return Error::success();
  }
  if (value.isInt() || value.isDouble() || value.isBool())
    return flatten(at::scalar_tensor(value.toScalar(), value.isInt()      ? at::kLong
                                                       : value.isDouble() ? at::kDouble
                                                                          : at::kBool),
                   outputs);
  if (value.isTuple() || value.isList()) {
    auto elements = value.isTuple() ? value.toTupleRef().elements().vec() : value.toListRef().vec();
    for (const c10::IValue &element : elements)
      if (Error error = flatten(element, outputs))
        return error;
    return Error::success();
  }
  if (value.isGenericDict()) {
    for (const auto &entry : value.toGenericDict())
      if (Error error = flatten(entry.value(), outputs))
        return error;
    return Error::success();
  }
  return value.isNone()
             ? Error::success()
             : makeError(Code::NotComparable, "the model returns a {0}", value.tagKind());
}

Expected<std::vector<c10::IValue>> argumentsOf(llvm::ArrayRef<NamedTensor> inputs,
                                               at::ScalarType integers) {
  std::vector<c10::IValue> arguments;
  for (const NamedTensor &input : inputs) {
    auto tensor = toTensor(input.value, Compute::Float32, nullptr);
    if (!tensor)
      return tensor.takeError();
    at::ScalarType type = tensor->scalar_type();
    type = type == at::kHalf ? at::kFloat : type == at::kInt ? integers : type;
    arguments.emplace_back(tensor->to(type, /*non_blocking=*/false, /*copy=*/true));
  }
  return arguments;
}

namespace {

/// The attributes that calls may change, so that they can be put back: every one but parameters.
class Attributes {
public:
  explicit Attributes(const torch::jit::Module &module) { visit(module._ivalue(), ""); }

  struct Kept {
    c10::intrusive_ptr<c10::ivalue::Object> object;
    size_t slot;
    std::string path;
    c10::IValue value;                ///< the object that was there
    std::vector<at::Tensor> contents; ///< copies of the tensors in it
  };

  void restore() const {
    for (const Kept &kept : kept_)
      restore(kept);
  }

  /// All but the tensors of these names and what shares memory with them; the paths of what was
  /// another.
  std::vector<std::string> restoreBut(llvm::ArrayRef<std::string> names) const {
    llvm::SmallPtrSet<const void *, 8> memory; // of what stays as it is
    for (const Kept &kept : kept_) {
      const c10::IValue &value = kept.object->getSlot(kept.slot);
      for (const c10::IValue *one : {&value, &kept.value})
        for (const auto &[path, tensor] : named(kept, *one))
          if (llvm::is_contained(names, path) || llvm::is_contained(names, mil::legalName(path)))
            memory.insert(tensor.storage().unsafeGetStorageImpl());
    }
    auto stays = [&](const at::Tensor &tensor) {
      return memory.contains(tensor.storage().unsafeGetStorageImpl());
    };
    std::vector<std::string> changed;
    for (const Kept &kept : kept_) {
      const c10::IValue &value = kept.object->getSlot(kept.slot);
      if (isSame(value, kept))
        continue;
      if (llvm::none_of(tensorsOf(value), stays) && llvm::none_of(tensorsOf(kept.value), stays)) {
        changed.push_back(kept.path);
        restore(kept);
        continue;
      }
      at::NoGradGuard noGrad; // of a list, the others
      for (auto [one, content] : llvm::zip(named(kept, kept.value), kept.contents)) {
        auto &[path, tensor] = one;
        if (stays(tensor) || isSame(tensor, content))
          continue;
        changed.push_back(path);
        tensor.copy_(content);
      }
    }
    return changed;
  }

  /// What is there now.
  std::vector<std::pair<std::string, at::Tensor>> now() const {
    std::vector<std::pair<std::string, at::Tensor>> found;
    for (const Kept &kept : kept_)
      llvm::append_range(found, named(kept, kept.object->getSlot(kept.slot)));
    return found;
  }

private:
  static void restore(const Kept &kept) {
    at::NoGradGuard noGrad;
    kept.object->setSlot(kept.slot, kept.value);
    std::vector<at::Tensor> tensors = tensorsOf(kept.value);
    for (auto [tensor, content] : llvm::zip(tensors, kept.contents))
      tensor.copy_(content);
  }

  /// Whether `value` is what was kept, by its contents.
  static bool isSame(const c10::IValue &value, const Kept &kept) {
    std::vector<at::Tensor> tensors = tensorsOf(value);
    if (tensors.empty() && kept.contents.empty())
      return !(value.isScalar() || value.isString()) || value == kept.value;
    return tensors.size() == kept.contents.size() &&
           llvm::all_of(llvm::zip(tensors, kept.contents),
                        [](auto pair) { return isSame(std::get<0>(pair), std::get<1>(pair)); });
  }
  static bool isSame(const at::Tensor &one, const at::Tensor &other) {
    return one.scalar_type() == other.scalar_type() && one.equal(other);
  }

  /// The tensors of a value in the place of the kept one, by their paths.
  static std::vector<std::pair<std::string, at::Tensor>> named(const Kept &kept,
                                                               const c10::IValue &value) {
    std::vector<std::pair<std::string, at::Tensor>> found;
    for (auto [i, tensor] : llvm::enumerate(tensorsOf(value)))
      found.emplace_back(value.isTensor() ? kept.path : kept.path + "." + std::to_string(i),
                         tensor);
    return found;
  }

  static std::vector<at::Tensor> tensorsOf(const c10::IValue &value) {
    if (value.isTensor())
      return value.toTensor().defined() ? std::vector{value.toTensor()} : std::vector<at::Tensor>();
    return value.isTensorList() ? value.toTensorVector() : std::vector<at::Tensor>();
  }

  void visit(const c10::intrusive_ptr<c10::ivalue::Object> &object, const std::string &path) {
    if (llvm::any_of(kept_, [&](const Kept &kept) { return kept.object == object; }))
      return;
    auto type = object->type();
    for (size_t slot = 0; slot < type->numAttributes(); ++slot) {
      std::string below =
          path.empty() ? type->getAttributeName(slot) : path + "." + type->getAttributeName(slot);
      const c10::IValue &value = object->getSlot(slot);
      if (value.isObject()) {
        visit(value.toObject(), below);
      } else if (!type->is_module() || !type->is_parameter(slot)) {
        Kept kept{object, slot, below, value, {}};
        for (const at::Tensor &tensor : tensorsOf(value))
          kept.contents.push_back(tensor.clone());
        kept_.push_back(std::move(kept));
      }
    }
  }

  std::vector<Kept> kept_;
};

class LoadedReference final : public Reference::Impl {
public:
  LoadedReference(std::shared_ptr<torch::jit::Module> module, std::string path, ArgumentBinder bind,
                  std::shared_ptr<WeightPages> pages)
      : module_(std::move(module)), path_(std::move(path)), bind_(std::move(bind)),
        pages_(std::move(pages)), first_(*module_), before_(first_) {}

  Expected<std::vector<TensorData>> call(llvm::ArrayRef<NamedTensor> inputs) override {
    before_ = Attributes(*module_);
    auto outputs = callWithIntegers<std::vector<TensorData>>(
        inputs, [&](std::vector<c10::IValue> arguments) -> Expected<std::vector<TensorData>> {
          before_.restore(); // a call that failed may have begun to write
          std::vector<TensorData> flat;
          if (bind_)
            if (Error error = bind_(arguments, inputs))
              return error;
          std::optional<WeightPages::Use> use;
          if (pages_)
            use.emplace(*pages_);
          if (Error error = flatten(module_->forward(std::move(arguments)), flat))
            return error;
          return flat;
        });
    if (!outputs)
      return addContext(outputs.takeError(), path_);
    return outputs;
  }
  void reset() override { first_.restore(); }
  void undo() override { before_.restore(); }
  std::vector<std::string> resetBut(llvm::ArrayRef<std::string> kept) override {
    return first_.restoreBut(kept);
  }

  Expected<std::optional<TensorData>> attribute(llvm::StringRef name) override {
    at::Tensor found;
    std::string path;
    for (const auto &[other, tensor] : first_.now()) {
      if (other != name && mil::legalName(other) != name)
        continue;
      if (found.defined() && !found.is_same(tensor))
        return makeError(Code::NameTaken, "{0}: '{1}' and '{2}' are both called '{3}' in a package",
                         path_, path, other, name);
      found = tensor;
      path = other;
    }
    if (!found.defined())
      return std::nullopt;
    std::vector<TensorData> copies;
    if (Error error = flatten(found.clone(at::MemoryFormat::Contiguous), copies))
      return error;
    return std::optional(std::move(copies[0]));
  }

private:
  std::shared_ptr<torch::jit::Module> module_;
  std::string path_;
  ArgumentBinder bind_;
  std::shared_ptr<WeightPages> pages_;
  Attributes first_, before_;
};

} // namespace

Expected<std::vector<TensorData>> Reference::operator()(llvm::ArrayRef<NamedTensor> inputs) const {
  NarrowArithmetic narrow;
  auto results = impl_->call(inputs);
  if (narrow.narrowest() && impl_->narrowest_ != DType::BF16)
    impl_->narrowest_ = *narrow.narrowest() == at::kHalf ? DType::F16 : DType::BF16;
  return results;
}

std::shared_ptr<WeightPages> weightPagesOf(const torch::jit::Module &module) {
  return WeightPages::of(module);
}

std::vector<TensorData> tensorsOf(const torch::jit::Module &module,
                                  std::shared_ptr<const WeightPages> pages) {
  std::vector<TensorData> tensors;
  for (const auto &attribute : module.named_attributes(/*recurse=*/true)) {
    if (!attribute.value.isTensor())
      continue;
    at::Tensor tensor = attribute.value.toTensor().detach();
    if (!tensor.defined() || tensor.layout() != at::kStrided || !tensor.is_floating_point())
      continue;
    if (tensor.scalar_type() == at::kBFloat16)
      tensor = tensor.to(at::kFloat);
    if (auto dtype = milType(tensor.scalar_type()))
      tensors.push_back(pages ? releasable(toTensorData(tensor, *dtype), pages)
                              : toTensorData(tensor, *dtype));
  }
  return tensors;
}

Reference referenceOf(std::shared_ptr<torch::jit::Module> loaded, llvm::StringRef name) {
  return referenceOf(std::move(loaded), name, nullptr, nullptr);
}

Reference referenceOf(std::shared_ptr<torch::jit::Module> loaded, llvm::StringRef name,
                      ArgumentBinder bind, std::shared_ptr<WeightPages> pages) {
  return Reference(std::make_shared<LoadedReference>(std::move(loaded), name.str(), std::move(bind),
                                                     std::move(pages)));
}

} // namespace plait::runtime
