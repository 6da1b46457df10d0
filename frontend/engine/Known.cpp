// Known values: nodes whose inputs are all known run on LibTorch itself; known tensors become MIL
// constants.
#include "frontend/engine/DeferredResult.h"
#include "frontend/engine/Engine.h"
#include "frontend/engine/StoredType.h"
#include "frontend/engine/Table.h"
#include "mil/MappedStorage.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/jit/runtime/operator.h>

namespace plait::frontend {

std::optional<c10::IValue> Engine::toKnown(const Val &val) { return knownArgument(val, nullptr); }

std::optional<c10::IValue> Engine::knownArgument(const Val &val, const c10::TypePtr &type) {
  if (auto known = val.known()) {
    if (known->isObject())
      return std::nullopt;
    return *known;
  }
  if (auto tensor = val.tensor()) {
    at::Tensor known = readKnown(*tensor);
    return known.defined() ? std::optional<c10::IValue>(known) : std::nullopt;
  }
  if (auto list = val.list()) {
    c10::impl::GenericList values(list->elementType);
    for (const Val &element : list->values) {
      auto known = knownArgument(element, list->elementType);
      if (!known)
        return std::nullopt;
      values.push_back(std::move(*known));
    }
    return c10::IValue(std::move(values));
  }
  if (auto tuple = val.tuple()) {
    std::vector<c10::IValue> values;
    for (const Val &element : tuple->values) {
      auto known = knownArgument(element, nullptr);
      if (!known)
        return std::nullopt;
      values.push_back(std::move(*known));
    }
    return c10::IValue(c10::ivalue::Tuple::create(std::move(values)));
  }
  if (auto dict = val.dict()) {
    c10::impl::GenericDict values(dict->keyType, dict->valueType);
    for (const auto &[key, element] : dict->entries) {
      auto known = knownArgument(element, dict->valueType);
      if (!known)
        return std::nullopt;
      values.insert(key, std::move(*known));
    }
    return c10::IValue(std::move(values));
  }
  return std::nullopt;
}

namespace {
/// The size of the known tensors among the arguments, and whether large ones come from weights.
struct Load {
  bool fromWeight = false, largeWeight = false;
  mil::Origin origin; ///< of what is computed from them

  void add(const Val &val) {
    if (auto tensor = val.tensor()) {
      const auto *known = std::get_if<Cell::Known>(&tensor->cell->content);
      if (known && known->fromWeight) {
        fromWeight = true;
        origin = origin.with(known->origin.asComputed());
        auto shape = mil::constShape(tensor->shape);
        int64_t bytes =
            shape ? mil::numElements(*shape) * int64_t(known->tensor.element_size()) : 0;
        largeWeight |= bytes > kEagerBytes;
      }
    } else if (auto list = val.list()) {
      for (const Val &element : list->values)
        add(element);
    } else if (auto tuple = val.tuple()) {
      for (const Val &element : tuple->values)
        add(element);
    }
  }
};
} // namespace

/// The constant that was given in place of a parameter; null for any other value.
static std::function<c10::IValue()> givenConstant(const TensorObj &tensor) {
  auto *value = std::get_if<mil::Value *>(&tensor.cell->content);
  const mil::TensorData *data = value ? mil::constTensor(*value) : nullptr;
  if (!data || !tensor.view.empty() || data->dtype() != mil::DType::F32)
    return nullptr;
  return [data = *data, dtype = tensor.dtype()] {
    auto bytes = data.bytes();
    if (!bytes)
      throw Refusal(bytes.takeError());
    at::Tensor result = at::empty(at::IntArrayRef(data.shape().data(), data.rank()), at::kFloat);
    std::copy(bytes->begin(), bytes->end(), static_cast<uint8_t *>(result.data_ptr()));
    return c10::IValue(result.to(dtype));
  };
}

/// A function that makes the value when it is needed; null if part of it is only known at run time.
static std::function<c10::IValue()> deferredOf(Engine &engine, const Val &val) {
  if (auto tensor = val.tensor(); tensor && tensor->cell->deferred) {
    // A copy is kept, because the tensor object and its cell change.
    auto now = std::make_shared<TensorObj>(*tensor);
    now->cell = std::make_shared<Cell>(*tensor->cell);
    return [&engine, now] { return c10::IValue(engine.compute(*now)); };
  }
  if (auto given = val.tensor() ? givenConstant(*val.tensor()) : nullptr)
    return given;
  if (auto list = val.list()) {
    std::vector<std::function<c10::IValue()>> elements;
    for (const Val &value : list->values) {
      auto element = deferredOf(engine, value);
      if (!element)
        return nullptr;
      elements.push_back(std::move(element));
    }
    return [elements, type = list->elementType] {
      c10::impl::GenericList values(type);
      for (const auto &element : elements)
        values.push_back(element());
      return c10::IValue(std::move(values));
    };
  }
  auto known = engine.toKnown(val);
  if (!known)
    return nullptr;
  return [known = std::move(*known)] { return known; };
}

void Engine::keepDeferred(const c10::FunctionSchema &schema, Arguments arguments,
                          const Results &results) {
  auto isWithout = [](const Val &val) {
    auto tensor = val.tensor();
    return tensor && std::holds_alternative<mil::Value *>(tensor->cell->content) &&
           !tensor->cell->deferred;
  };
  if (schema.is_mutable() || schema.is_vararg() || llvm::any_of(arguments, isWithout) ||
      llvm::none_of(results, isWithout))
    return;
  auto operation = torch::jit::findOperatorFor(schema.operator_name());
  auto handle = c10::Dispatcher::singleton().findSchema(schema.operator_name());
  if (!operation || (handle && handle->hasTag(at::Tag::nondeterministic_seeded)))
    return;
  auto call = std::make_shared<DeferredResult::Call>();
  call->operation = std::move(operation);
  for (const Val &argument : arguments) {
    auto deferred = deferredOf(*this, argument);
    if (!deferred)
      return;
    call->arguments.push_back(std::move(deferred));
  }
  for (auto [i, result] : llvm::enumerate(results))
    if (isWithout(result) && result.tensor()->view.empty())
      result.tensor()->cell->deferred = std::make_shared<DeferredResult>(call, i);
}

Engine::Handled Engine::runKnown(const c10::FunctionSchema &schema, Arguments arguments,
                                 const Row *row, bool force) {
  if (schema.is_mutable())
    return std::nullopt;
  WhenKnown when = WhenKnown::Compute;
  if (row && row->whenKnown) {
    ValueCall call(*this, schema, arguments);
    when = row->whenKnown(call);
  }
  if (when == WhenKnown::Lower)
    return std::nullopt;
  Load load;
  for (const Val &argument : arguments)
    load.add(argument);
  if (!force && (load.largeWeight || when == WhenKnown::LowerLazily))
    return std::nullopt;
  std::vector<c10::IValue> stack;
  for (auto [i, argument] : llvm::enumerate(arguments)) {
    bool named = i < schema.arguments().size(); // false for the tail of a vararg
    auto known = knownArgument(argument, named ? schema.arguments()[i].type() : nullptr);
    if (auto deferred = !known && force ? deferredOf(*this, argument) : nullptr)
      known = deferred();
    if (!known)
      return std::nullopt;
    // Pinned memory is not needed here, and without another device LibTorch crashes on it.
    if (named && schema.arguments()[i].name() == "pin_memory")
      known = c10::IValue();
    stack.push_back(std::move(*known));
  }
  auto operation = torch::jit::findOperatorFor(schema.operator_name());
  if (!operation)
    return std::nullopt;
  if (schema.is_vararg()) // aten::format: the number of arguments is an argument of its own
    stack.emplace_back(int64_t(arguments.size()));
  if (auto handle = c10::Dispatcher::singleton().findSchema(schema.operator_name());
      handle && handle->hasTag(at::Tag::nondeterministic_seeded))
    return std::nullopt;
  // LibTorch's inner operators do not check their arguments: `_stack` of an empty list ends the
  // process.
  if (llvm::StringRef(schema.name()).starts_with("aten::_"))
    for (const c10::IValue &value : stack)
      if (value.isTensorList() && value.toTensorList().empty())
        throw Refusal(Code::UnsupportedForm, "a list of no tensors");
  operation->getOperation()(stack);
  std::vector<Val> results;
  for (c10::IValue &value : stack) {
    if (value.isTensor() && when == WhenKnown::Zero)
      value.toTensor().zero_();
    Val result = fromIValue(value);
    if (auto tensor = result.tensor()) {
      auto &known = std::get<Cell::Known>(tensor->cell->content);
      known.fromWeight = load.fromWeight;
      known.origin = load.origin;
    }
    results.push_back(std::move(result));
  }
  return results;
}

// ---- Constants ---------------------------------------------------------------------------------

std::shared_ptr<mil::Storage> Engine::storageOf(const at::Tensor &tensor) {
  auto owner = std::make_shared<const c10::Storage>(tensor.storage());
  llvm::ArrayRef<uint8_t> bytes(static_cast<const uint8_t *>(owner->data()), owner->nbytes());
  return mil::keptStorage(bytes, std::move(owner));
}

mil::Value *Engine::constant(const at::Tensor &original, llvm::StringRef hint, mil::Origin origin) {
  at::Tensor tensor = original.resolve_conj().resolve_neg();
  auto stored = storedType(tensor.scalar_type());
  if (!stored || tensor.layout() != at::kStrided) {
    fail(makeError(Code::UnsupportedType,
                   "a {0} constant{1} cannot be expressed in Core ML; convert it to float32 "
                   "before saving the model",
                   at::toString(tensor.scalar_type()),
                   hint.empty() ? "" : " '" + hint.str() + "'"));
    return builder_.poison();
  }
  if (tensor.scalar_type() == at::kLong && tensor.numel() > 0) {
    int64_t low = tensor.min().item<int64_t>(), high = tensor.max().item<int64_t>();
    if (low < INT32_MIN || high > INT32_MAX) {
      fail(makeError(Code::UnsupportedType,
                     "an int64 constant holds {0}, which does not fit Core ML's int32",
                     low < INT32_MIN ? low : high));
      return builder_.poison();
    }
  }
  std::shared_ptr<const mil::Storage> storage =
      options_.storageOf ? options_.storageOf(tensor) : nullptr;
  if (!storage) {
    auto &owned = ownedStorages_[tensor.storage().unsafeGetStorageImpl()];
    if (!owned)
      owned = storageOf(tensor);
    storage = owned;
  }
  // The view may start anywhere in the storage that the record holds.
  uint64_t offset = static_cast<const uint8_t *>(tensor.const_data_ptr()) -
                    static_cast<const uint8_t *>(tensor.storage().data());
  if (tensor.numel() == 0)
    offset = 0;
  mil::TensorData data = mil::TensorData::view(storage, offset, *stored, tensor.sizes().vec(),
                                               tensor.strides().vec(), std::move(origin));
  return builder_.constant(data.cast(milTypeOf(tensor.scalar_type())), hint);
}

} // namespace plait::frontend
