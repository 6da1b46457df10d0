// Known values: nodes whose inputs are all known run on LibTorch itself; known tensors become MIL
// constants.
#include "frontend/engine/Engine.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/jit/runtime/operator.h>

namespace plait::frontend {

/// Known tensors of up to this size are computed with; what derives from larger weights stays a
/// computed constant: it is lowered, and the passes decide.
static constexpr int64_t kEagerBytes = 64 * 1024;

std::optional<c10::IValue> Engine::toKnown(const Val &val) { return knownArgument(val, nullptr); }

std::optional<c10::IValue> Engine::knownArgument(const Val &val, const c10::TypePtr &type) {
  if (const c10::IValue *known = val.known()) {
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
/// What the known tensors among the arguments weigh, and whether large ones come from the model's
/// weights.
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

bool isUninitializedMemory(llvm::StringRef name) {
  return name == "aten::empty" || name == "aten::empty_like" || name == "aten::new_empty" ||
         name == "aten::empty_strided" || name == "aten::new_empty_strided" ||
         name == "aten::empty_permuted";
}
} // namespace

/// Whether a value of a graph becomes the weight or the input of layers, through arithmetic and
/// changes of shape at most: all of it is lowered. What else takes it may be LibTorch's alone.
static bool feedsLayers(const torch::jit::Value *value, unsigned depth = 0) {
  static const llvm::StringSet<> layers = {"aten::linear", "aten::matmul",      "aten::mm",
                                           "aten::addmm",  "aten::conv1d",      "aten::conv2d",
                                           "aten::conv3d", "prim::CallMethod",  "aten::embedding",
                                           "prim::Return", "aten::_convolution"};
  static const llvm::StringSet<> between = {
      "aten::mul",     "aten::add",       "aten::sub",     "aten::to",        "aten::t",
      "aten::reshape", "aten::transpose", "aten::permute", "aten::view",      "aten::unsqueeze",
      "aten::squeeze", "aten::type_as",   "aten::detach",  "aten::contiguous"};
  return depth < 16 &&
         llvm::all_of(
             value->uses(),
             [&](const torch::jit::Use &use) {
               llvm::StringRef kind = use.user->kind().toQualString();
               return layers.contains(kind) ||
                      (between.contains(kind) && feedsLayers(use.user->output(), depth + 1));
             });
}

/// An identity matrix that memory need not hold: lowered, it is a lazy constant. PEFT's DoRA makes
/// one of each layer's width.
static bool isLargeIdentity(const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments) {
  if (schema.name() != "aten::eye")
    return false;
  auto rows = arguments[0].asDim();
  auto columns = schema.argumentIndexWithName("m") ? arguments[1].asDim() : rows;
  const c10::IValue *dtype = arguments[*schema.argumentIndexWithName("dtype")].known();
  return rows && columns && rows->isConst() && columns->isConst() && dtype &&
         (dtype->isNone() || at::isFloatingType(dtype->toScalarType())) && columns->value() > 0 &&
         rows->value() > kEagerBytes / int64_t(sizeof(float)) / columns->value();
}

/// A product of two small weights that holds more than they do: of the factors of an adapter, which
/// need not be multiplied out (passes/Sources.h). That of two vectors is a table (positions by
/// frequencies) and is.
static bool isExpandingProduct(const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments) {
  enum Kind { Other, Kron, Matmul, Linear, Conv };
  Kind kind = llvm::StringSwitch<Kind>(schema.name())
                  .Case("aten::kron", Kron)
                  .Cases("aten::matmul", "aten::mm", Matmul)
                  .Case("aten::linear", Linear)
                  .Case("aten::conv1d", Conv)
                  .Default(Other);
  if (kind == Other || (kind == Linear && !arguments[2].isNone()))
    return false;
  auto sizes = [](const Val &val) -> std::optional<llvm::SmallVector<int64_t, 6>> {
    auto tensor = val.tensor();
    const auto *known = tensor ? std::get_if<Cell::Known>(&tensor->cell->content) : nullptr;
    return known && known->fromWeight && at::isFloatingType(tensor->dtype())
               ? mil::constShape(tensor->shape)
               : std::nullopt;
  };
  auto x = sizes(arguments[0]), y = sizes(arguments[1]);
  if (!x || !y || x->size() < 2 || y->size() < 2 ||
      ((kind == Matmul || kind == Linear) && y->size() != 2))
    return false;
  int64_t ofX = mil::numElements(llvm::ArrayRef<int64_t>(*x));
  int64_t ofY = mil::numElements(llvm::ArrayRef<int64_t>(*y));
  int64_t inner = kind == Kron ? 1 : kind == Conv ? (*x)[1] : x->back();
  int64_t columns = kind == Kron ? ofY : kind == Matmul ? y->back() : (*y)[0];
  return inner > (kind == Kron ? 0 : 1) && ofX / inner * columns > ofX + ofY;
}

/// A lazy constant of the program, for an operation that LibTorch alone computes.
static at::Tensor computedConstant(const Val &argument) {
  auto tensor = argument.tensor();
  auto *value = tensor ? std::get_if<mil::Value *>(&tensor->cell->content) : nullptr;
  const mil::TensorData *data = value ? mil::constTensor(*value) : nullptr;
  if (!data || !tensor->view.empty() || data->dtype() != mil::DType::F32)
    return {};
  auto bytes = data->bytes();
  if (!bytes) {
    llvm::consumeError(bytes.takeError());
    return {};
  }
  at::Tensor result = at::empty(at::IntArrayRef(data->shape().data(), data->rank()), at::kFloat);
  std::copy(bytes->begin(), bytes->end(), static_cast<uint8_t *>(result.data_ptr()));
  return result.to(tensor->dtype());
}

Engine::Handled Engine::runKnown(const c10::FunctionSchema &schema, Arguments arguments,
                                 bool force) {
  if (schema.is_mutable())
    return std::nullopt;
  // A known tensor that was computed here may have other strides than LibTorch's would: only
  // attributes are laid out as in LibTorch.
  if (schema.name() == "aten::as_strided")
    if (auto self = arguments[0].tensor();
        !self || self->cell->attribute.empty() || !self->view.empty())
      return std::nullopt;
  Load load;
  for (const Val &argument : arguments)
    load.add(argument);
  auto staysLazy = [&] {
    return (isLargeIdentity(schema, arguments) || isExpandingProduct(schema, arguments)) &&
           // Adapters are computed by calls that no node stands for.
           (!node_ || node_->maybeSchema() != &schema || feedsLayers(node_->output()));
  };
  if (!force && (load.largeWeight || staysLazy()))
    return std::nullopt;
  std::vector<c10::IValue> stack;
  for (auto [i, argument] : llvm::enumerate(arguments)) {
    bool named = i < schema.arguments().size(); // false for the tail of a vararg
    auto known = knownArgument(argument, named ? schema.arguments()[i].type() : nullptr);
    if (at::Tensor computed = !known && force ? computedConstant(argument) : at::Tensor();
        computed.defined())
      known = computed;
    if (!known)
      return std::nullopt;
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
  operation->getOperation()(stack);
  std::vector<Val> results;
  for (c10::IValue &value : stack) {
    if (value.isTensor() && isUninitializedMemory(schema.name()))
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

static std::optional<mil::DType> storedType(at::ScalarType dtype) {
  switch (dtype) {
  case at::kFloat:
    return mil::DType::F32;
  case at::kDouble:
    return mil::DType::F64;
  case at::kHalf:
    return mil::DType::F16;
  case at::kBFloat16:
    return mil::DType::BF16;
  case at::kLong:
    return mil::DType::I64;
  case at::kInt:
    return mil::DType::I32;
  case at::kShort:
    return mil::DType::I16;
  case at::kChar:
    return mil::DType::I8;
  case at::kByte:
    return mil::DType::U8;
  case at::kBool:
    return mil::DType::Bool;
  default:
    return std::nullopt;
  }
}

mil::Value *Engine::constant(const at::Tensor &original, llvm::StringRef hint, mil::Origin origin) {
  at::Tensor tensor = original.resolve_conj().resolve_neg();
  auto stored = storedType(tensor.scalar_type());
  if (!stored || tensor.layout() != at::kStrided) {
    fail(makeError("a {0} constant {1} cannot be expressed in Core ML; convert it to float32 "
                   "before saving the model",
                   at::toString(tensor.scalar_type()), hint.empty() ? "" : "'" + hint.str() + "'"));
    return builder_.poison();
  }
  if (tensor.scalar_type() == at::kLong && tensor.numel() > 0) {
    int64_t low = tensor.min().item<int64_t>(), high = tensor.max().item<int64_t>();
    if (low < INT32_MIN || high > INT32_MAX) {
      fail(makeError("an int64 constant holds {0}, which does not fit Core ML's int32",
                     low < INT32_MIN ? low : high));
      return builder_.poison();
    }
  }
  std::shared_ptr<const mil::Storage> storage =
      options_.storageOf ? options_.storageOf(tensor) : nullptr;
  if (!storage) {
    auto &owned = ownedStorages_[tensor.storage().unsafeGetStorageImpl()];
    if (!owned) {
      auto made = std::make_shared<mil::Storage>();
      made->bytes = {static_cast<const uint8_t *>(tensor.storage().data()),
                     tensor.storage().nbytes()};
      made->owner = std::make_shared<const c10::Storage>(tensor.storage());
      owned = std::move(made);
    }
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
