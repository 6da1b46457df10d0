// The machine that makes tensors. A name that is not known costs nothing until something calls it.
#include "frontend/archive/TensorPickle.h"

#include "frontend/archive/PickleMachine.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/MathExtras.h"

namespace plait {
namespace {

using llvm::StringRef;
using mil::DType;

constexpr size_t maxPickledRank = 16;
/// Sizes and strides that multiply to more are of no file.
constexpr int64_t maxPickledBytes = INT64_MAX / 16;
constexpr const char *howToSaveTensors = "{k: v.detach().clone() for k, v in tensors.items()}";

enum class Kind : uint8_t {
  Other,   ///< nothing that a tensor is made of
  Boolean, ///< the index is its value
  Integer,
  Text,
  Name, ///< of a class or function
  Tuple,
  List,
  Dictionary,
  Storage,
  Tensor,
};

struct Item {
  Kind kind = Kind::Other;
  uint32_t index = 0; ///< into the arena of the kind
};

struct PickledName {
  StringRef module, name;

  bool is(StringRef wanted) const {
    auto [ownModule, ownName] = wanted.rsplit('.');
    return module == ownModule && name == ownName;
  }
  std::string text() const { return (module + "." + name).str(); }
};

struct ElementType {
  DType dtype;
  bool isComplex = false;
  int64_t bytes() const { return int64_t(mil::bitWidth(dtype)) / 8 * (isComplex ? 2 : 1); }
};

struct PickledStorage {
  std::optional<ElementType> element;
  StringRef type; ///< "ComplexFloat", "Float8_e5m2"
  StringRef key;
  uint64_t bytes = 0;
};

/// One that is not plain is refused where it has a name in the dictionary.
struct Made {
  PickledTensor tensor;
  bool isDense = true, isConjugated = false;
  std::string type = {}; ///< of elements that no weight is made of
};

std::optional<ElementType> elementTypeOf(StringRef storage) {
  return llvm::StringSwitch<std::optional<ElementType>>(storage)
      .Case("Float", ElementType{DType::F32})
      .Case("Double", ElementType{DType::F64})
      .Case("Half", ElementType{DType::F16})
      .Case("BFloat16", ElementType{DType::BF16})
      .Case("Long", ElementType{DType::I64})
      .Case("Int", ElementType{DType::I32})
      .Case("Short", ElementType{DType::I16})
      .Case("Char", ElementType{DType::I8})
      .Case("Byte", ElementType{DType::U8})
      .Case("Bool", ElementType{DType::Bool})
      .Case("ComplexHalf", ElementType{DType::F16, true})
      .Case("ComplexFloat", ElementType{DType::F32, true})
      .Case("ComplexDouble", ElementType{DType::F64, true})
      .Default(std::nullopt);
}

class TensorMachine : public PickleMachine<TensorMachine, Item> {
public:
  explicit TensorMachine(StringRef pickle) : PickleMachine(pickle) {}

  Expected<std::vector<PickledTensor>> run(OtherTensors others);

private:
  friend PickleMachine;

  Item make(PickledContainer kind, Items items) {
    containers.push_back(std::move(items));
    return {kindOf(kind), uint32_t(containers.size() - 1)};
  }
  Error add(Item &to, PickledContainer kind, Items items) {
    if (to.kind != kindOf(kind))
      return operations.damaged("adds to what holds nothing");
    llvm::append_range(containers[to.index], items);
    return Error::success();
  }
  Error other(const PickleOperation &operation);
  size_t numContainers() const { return containers.size(); }
  std::optional<uint32_t> containerOf(uint32_t container, size_t &next) const {
    for (const Items &items = containers[container]; next < items.size();)
      if (const Item &item = items[next++]; isContainer(item))
        return item.index;
    return std::nullopt;
  }
  static Kind kindOf(PickledContainer kind) {
    return kind == PickledContainer::Tuple  ? Kind::Tuple
           : kind == PickledContainer::List ? Kind::List
                                            : Kind::Dictionary;
  }

  Error reduce();
  Error makeTensor(const PickledName &maker, const Items &arguments);
  Error makePlain(const Items &arguments);
  Error makeFromType(const Items &arguments);
  Error makeStorage();
  Expected<std::vector<PickledTensor>> tensorsOf(const Item &item, OtherTensors others) const;

  // ---- Errors ----
  Error unreadable(StringRef how) const {
    return makeError(Code::PickledObject,
                     "the pickle holds a value that is no tensor of torch.save: its operation at "
                     "{0} {1}; save tensors alone, {2}, as safetensors where you can",
                     operations.position(), how, howToSaveTensors);
  }
  Error unknown(const PickledName &name) const {
    return makeError(Code::PickledObject,
                     "it holds an object of the class {0}, and only tensors are read; save them in "
                     "a plain dict, {1}, as safetensors where you can",
                     name.text(), howToSaveTensors);
  }

  // ---- The stack ----
  using PickleMachine::push;
  void push(Kind kind = Kind::Other, size_t index = 0) { push(Item{kind, uint32_t(index)}); }
  void pushInteger(int64_t value) {
    push(Kind::Integer, integers.size());
    integers.push_back(value);
  }
  void pushLong(StringRef bytes);
  void pushText(StringRef text) {
    push(Kind::Text, texts.size());
    texts.push_back(text);
  }

  // ---- Values ----
  const PickledName *nameOf(Item item) const {
    return item.kind == Kind::Name ? &names[item.index] : nullptr;
  }
  std::optional<int64_t> integerOf(Item item) const {
    if (item.kind != Kind::Integer)
      return std::nullopt;
    return integers[item.index];
  }
  StringRef textOf(Item item) const {
    return item.kind == Kind::Text ? texts[item.index] : StringRef();
  }
  bool isContainer(Item item) const {
    return item.kind == Kind::Tuple || item.kind == Kind::List || item.kind == Kind::Dictionary;
  }
  std::optional<llvm::SmallVector<int64_t, 4>> integersOf(Item tuple) const;
  Expected<bool> flagOf(Item metadata, StringRef key) const;

  // The arenas.
  std::vector<Items> containers; ///< keys and values of dictionaries take turns
  std::vector<int64_t> integers;
  std::vector<StringRef> texts;
  std::vector<PickledName> names;
  std::vector<PickledStorage> storages;
  std::vector<Made> tensors;
};

void TensorMachine::pushLong(StringRef bytes) {
  if (bytes.size() > sizeof(int64_t))
    return push(); // a number that is no size
  uint64_t value = littleEndian(bytes);
  pushInteger(bytes.empty() ? 0 : llvm::SignExtend64(value, unsigned(bytes.size()) * 8));
}

std::optional<llvm::SmallVector<int64_t, 4>> TensorMachine::integersOf(Item tuple) const {
  if (tuple.kind != Kind::Tuple || containers[tuple.index].size() > maxPickledRank)
    return std::nullopt;
  llvm::SmallVector<int64_t, 4> values;
  for (const Item &item : containers[tuple.index]) {
    auto value = integerOf(item);
    if (!value)
      return std::nullopt;
    values.push_back(*value);
  }
  return values;
}

/// Of the last argument of _rebuild_tensor_v2, where there is one: {"conj": …, "neg": …}.
Expected<bool> TensorMachine::flagOf(Item metadata, StringRef key) const {
  bool flag = false;
  const Items *items = metadata.kind == Kind::Dictionary ? &containers[metadata.index] : nullptr;
  if (!items || items->size() > 2 * maxPickledRank)
    return unreadable("makes a tensor with what is no metadata");
  for (size_t i = 0; i + 1 < items->size(); i += 2)
    if (textOf((*items)[i]) == key)
      flag = (*items)[i + 1].kind == Kind::Boolean && (*items)[i + 1].index != 0;
  return flag;
}

// ---- Storages and tensors ----------------------------------------------------------------------

Error TensorMachine::makeStorage() {
  auto id = take(1);
  if (!id)
    return missing();
  const Items *parts = (*id)[0].kind == Kind::Tuple ? &containers[(*id)[0].index] : nullptr;
  const PickledName *type = parts && parts->size() >= 2 ? nameOf((*parts)[1]) : nullptr;
  StringRef element = type ? type->name : "";
  if (!type || (type->module != "torch" && type->module != "torch.storage") ||
      !element.consume_back("Storage"))
    return unreadable("makes a storage of no element type");
  auto elements = parts->size() >= 5 ? integerOf((*parts)[4]) : std::nullopt;
  if (textOf((*parts)[0]) != "storage" || (*parts).size() < 5 || (*parts)[2].kind != Kind::Text ||
      !elements || *elements < 0)
    return operations.damaged("makes a storage without its record or its size");
  PickledStorage storage{elementTypeOf(element), element, textOf((*parts)[2])};
  uint64_t bytes = storage.element ? storage.element->bytes() : 1;
  if (*elements > maxPickledBytes / int64_t(bytes))
    return operations.damaged("makes a storage that is larger than any file");
  storage.bytes = bytes * uint64_t(*elements);
  push(Kind::Storage, storages.size());
  storages.push_back(storage);
  return Error::success();
}

/// Whether the products of sizes fit, and the last element is within `bytes`.
Error checkExtent(const PickledTensor &tensor) {
  auto outside = [] {
    return makeError(Code::ArchiveDamaged,
                     "a tensor reaches out of its storage; the archive is damaged, save it again");
  };
  int64_t width = ElementType{tensor.dtype, tensor.isComplex}.bytes();
  int64_t count = width, last = tensor.offset;
  bool isEmpty = false;
  if (last < 0)
    return outside();
  for (auto [size, stride] : llvm::zip_equal(tensor.shape, tensor.strides)) {
    int64_t span;
    if (size < 0 || stride < 0)
      return outside();
    isEmpty |= size == 0;
    if (llvm::MulOverflow(count, std::max<int64_t>(size, 1), count) || count > maxPickledBytes)
      return makeError(Code::ArchiveDamaged,
                       "a tensor is larger than any file; the archive is damaged, save it again");
    if (llvm::MulOverflow(std::max<int64_t>(size, 1) - 1, stride, span) ||
        llvm::AddOverflow(last, span, last))
      return outside();
  }
  if (!isEmpty && uint64_t(last) >= tensor.storageBytes / uint64_t(width))
    return outside();
  return Error::success();
}

/// _rebuild_tensor_v2.
Error TensorMachine::makePlain(const Items &arguments) {
  auto offset = arguments.size() >= 4 ? integerOf(arguments[1]) : std::nullopt;
  if (!offset || arguments[0].kind != Kind::Storage)
    return operations.damaged("makes a tensor of no storage");
  auto shape = integersOf(arguments[2]), strides = integersOf(arguments[3]);
  if (!shape || !strides || shape->size() != strides->size())
    return operations.damaged("makes a tensor of no sizes and strides");
  const PickledStorage &storage = storages[arguments[0].index];
  Made made;
  if (storage.element) {
    made.tensor.dtype = storage.element->dtype;
    made.tensor.isComplex = storage.element->isComplex;
    made.tensor.record = ("data/" + storage.key).str();
    made.tensor.storageBytes = storage.bytes;
    made.tensor.offset = *offset;
    made.tensor.shape = std::move(*shape);
    made.tensor.strides = std::move(*strides);
    if (made.tensor.isComplex)
      made.type = storage.type.str();
    if (arguments.size() >= 7) {
      auto negated = flagOf(arguments[6], "neg");
      if (!negated)
        return negated.takeError();
      auto conjugated = flagOf(arguments[6], "conj");
      if (!conjugated)
        return conjugated.takeError();
      made.tensor.isNegated = *negated;
      made.isConjugated = *conjugated;
    }
    if (Error error = checkExtent(made.tensor))
      return error;
  } else {
    made.type = storage.type.str();
  }
  push(Kind::Tensor, tensors.size());
  tensors.push_back(std::move(made));
  return Error::success();
}

/// Any function of torch._utils.
Error TensorMachine::makeTensor(const PickledName &maker, const Items &arguments) {
  if (maker.name == "_rebuild_tensor_v2")
    return makePlain(arguments);
  if (maker.name == "_rebuild_parameter" || maker.name == "_rebuild_parameter_with_state") {
    if (arguments.empty() || arguments[0].kind != Kind::Tensor)
      return operations.damaged("makes a parameter of no tensor");
    push(arguments[0]);
    return Error::success();
  }
  if (!maker.name.starts_with("_rebuild_"))
    return unknown(maker);
  Made made;
  made.isDense = maker.name == "_rebuild_tensor_v3"; // of a type that has no storage of its own
  if (made.isDense) {
    const PickledName *type = arguments.size() >= 7 ? nameOf(arguments[6]) : nullptr;
    made.type = type ? type->name.str() : "unknown";
  }
  push(Kind::Tensor, tensors.size());
  tensors.push_back(std::move(made));
  return Error::success();
}

/// _rebuild_from_type_v2: a tensor with attributes of Python, which are dropped.
Error TensorMachine::makeFromType(const Items &arguments) {
  const PickledName *maker = arguments.size() >= 3 ? nameOf(arguments[0]) : nullptr;
  if (!maker || maker->module != "torch._utils" || arguments[2].kind != Kind::Tuple)
    return unreadable("makes a tensor without saying how");
  const PickledName *type = nameOf(arguments[1]);
  if (!type)
    return unreadable("makes a tensor of no class");
  if (!type->is("torch.Tensor") && !type->is("torch._tensor.Tensor") &&
      !type->is("torch.nn.parameter.Parameter"))
    return makeError(Code::PickledObject,
                     "it holds a tensor of a subclass, {0}; save plain tensors, {{k: "
                     "v.detach().clone().as_subclass(torch.Tensor) for k, v in "
                     "state_dict.items()}}, as safetensors where you can",
                     type->text());
  return makeTensor(*maker, containers[arguments[2].index]);
}

/// What a function or class gives of a tuple of arguments.
Error TensorMachine::reduce() {
  auto items = take(2);
  if (!items)
    return missing();
  const PickledName *known = nameOf((*items)[0]);
  if (!known)
    return unreadable("calls what is no class or function");
  if ((*items)[1].kind != Kind::Tuple)
    return operations.damaged("calls with what are no arguments");
  const PickledName &name = *known;
  const Items &arguments = containers[(*items)[1].index];
  if (name.module == "torch._utils")
    return makeTensor(name, arguments);
  if (name.is("torch._tensor._rebuild_from_type_v2"))
    return makeFromType(arguments);
  if (name.is("collections.OrderedDict")) {
    if (!arguments.empty())
      return unreadable("makes an OrderedDict of other than nothing");
    push(make(PickledContainer::Dictionary, {}));
    return Error::success();
  }
  if (name.is("torch.Size") && arguments.size() == 1 && isContainer(arguments[0])) {
    push(arguments[0]);
    return Error::success();
  }
  if (name.is("torch.device") || name.is("torch.serialization._get_layout")) {
    push();
    return Error::success();
  }
  return unknown(name);
}

// ---- Operations --------------------------------------------------------------------------------

Error TensorMachine::other(const PickleOperation &operation) {
  switch (char code = operation.code) {
  case 'c': {
    auto [module, rest] = operation.argument.split('\n');
    push(Kind::Name, names.size());
    names.push_back({module, rest.drop_back()});
    return Error::success();
  }
  case 'R':
    return reduce();
  case '\x81': { // an object of a class, without its constructor
    auto items = take(2);
    if (!items)
      return missing();
    const PickledName *name = nameOf((*items)[0]);
    return name ? unknown(*name) : unreadable("calls what is no class or function");
  }
  case 'b': // attributes: of an OrderedDict they are dropped
    if (stack.size() < 2)
      return missing();
    stack.pop_back();
    return stack.back().kind == Kind::Dictionary ? Error::success()
                                                 : unreadable("gives attributes to what has none");
  case 'Q':
    return makeStorage();
  case '\x80':
    if (operation.argument != "\x02")
      return makeError(Code::PickledObject,
                       "the pickle is of protocol {0}, and protocol 2 alone is read, which "
                       "torch.save writes; save it without pickle_protocol, as safetensors where "
                       "you can",
                       littleEndian(operation.argument));
    return Error::success();
  case 'K':
  case 'M':
    pushInteger(int64_t(littleEndian(operation.argument)));
    return Error::success();
  case 'J':
    pushLong(operation.argument);
    return Error::success();
  case '\x8a':
  case '\x8b':
    pushLong(operation.body);
    return Error::success();
  case '\x88':
  case '\x89':
    push(Kind::Boolean, code == '\x88');
    return Error::success();
  case 'U':
  case 'T':
  case 'X':
  case '\x8c':
  case '\x8d':
    pushText(operation.body);
    return Error::success();
  default: // None, a float
    push();
    return Error::success();
  }
}

Expected<std::vector<PickledTensor>> TensorMachine::tensorsOf(const Item &item,
                                                              OtherTensors others) const {
  if (item.kind != Kind::Dictionary)
    return makeError(Code::PickledObject, "it holds no dictionary of tensors");
  const Items &items = containers[item.index];
  std::vector<PickledTensor> result;
  llvm::StringMap<size_t> places;
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    if (items[i].kind != Kind::Text || items[i + 1].kind != Kind::Tensor)
      return makeError(Code::PickledObject,
                       "its dictionary holds something other than tensors by name{0}; save the "
                       "dictionary that get_peft_model_state_dict gives, {1}",
                       items[i].kind == Kind::Text ? ", '" + textOf(items[i]).str() + "'" : "",
                       howToSaveTensors);
    StringRef name = textOf(items[i]);
    const Made &made = tensors[items[i + 1].index];
    std::string problem;
    if (!made.isDense)
      problem =
          fmt::format("tensor '{0}' is sparse or quantized; save dense ones of floating-point "
                      "numbers, {{k: v.detach().clone().to_dense() for k, v in "
                      "tensors.items()}}",
                      name);
    else if (!made.type.empty() && !(others == OtherTensors::Name && made.tensor.isComplex))
      problem = fmt::format("'{0}' is of type {1}: no tensor of floating-point numbers of 16 bits "
                            "or more; save {{k: v.detach().clone().float() for k, v in "
                            "tensors.items()}}",
                            name, made.type);
    else if (made.isConjugated)
      problem = fmt::format("'{0}' is the conjugate view of other numbers; save it as "
                            "{0}.resolve_conj()",
                            name);
    if (!problem.empty() && others == OtherTensors::Refuse)
      return makeError(Code::PickledObject, "{0}", problem);
    if (made.tensor.isNegated && !mil::isFloat(made.tensor.dtype))
      return unreadable("negates integers");
    auto [place, isNew] = places.try_emplace(name, result.size());
    if (isNew)
      result.emplace_back();
    PickledTensor &tensor = result[place->second];
    if (problem.empty())
      tensor = made.tensor;
    tensor.name = name.str();
    tensor.problem = std::move(problem);
  }
  return result;
}

Expected<std::vector<PickledTensor>> TensorMachine::run(OtherTensors others) {
  Error error = runToEnd();
  if (error)
    return error;
  if (operations.rest().empty())
    return operations.damaged("is missing: the pickle has no end");
  if (operations.rest()[0] != '.')
    return operations.damaged("is none that torch.save writes");
  if (stack.empty())
    return missing();
  return tensorsOf(stack.back(), others);
}

} // namespace

Expected<std::vector<PickledTensor>> readTensorPickle(StringRef pickle, OtherTensors others) {
  return TensorMachine(pickle).run(others);
}

} // namespace plait
