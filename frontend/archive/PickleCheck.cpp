// The machine of pickles on kinds of values.
#include "frontend/archive/PickleCheck.h"

#include "frontend/archive/PickleMachine.h"

#include "llvm/ADT/STLExtras.h"

namespace plait {
namespace {

using llvm::StringRef;

struct Value {
  enum class Kind : uint8_t { Plain, StorageType, Function, Container };
  Kind kind = Kind::Plain;
  uint32_t index = 0; ///< of functions and containers
};

/// Something that can be called, in the order in which LibTorch numbers them.
struct Function {
  enum class Kind : uint8_t { Other, Tensor, Wrapper, Hooks };
  Kind kind;
};

class Machine : public PickleMachine<Machine, Value> {
public:
  explicit Machine(StringRef pickle) : PickleMachine(pickle) {}

  Error run() { return runToEnd(); }

private:
  friend PickleMachine;

  Value make(PickledContainer, Items elements) {
    containers.push_back(std::move(elements));
    return {Value::Kind::Container, uint32_t(containers.size() - 1)};
  }
  Error add(Value &to, PickledContainer, Items elements) {
    if (to.kind == Value::Kind::Container)
      llvm::append_range(containers[to.index], elements);
    return Error::success();
  }
  Error other(const PickleOperation &operation);
  size_t numContainers() const { return containers.size(); }
  std::optional<uint32_t> containerOf(uint32_t container, size_t &next) const {
    for (const Items &elements = containers[container]; next < elements.size();)
      if (const Value &element = elements[next++]; element.kind == Value::Kind::Container)
        return element.index;
    return std::nullopt;
  }

  Error call();
  Error makeStorage();
  void global(StringRef module, StringRef name);

  /// What Python reads, but LibTorch does not.
  Error unreadable(const char *how) const {
    return makeError(
        Code::PickledObject,
        "the pickle holds a value that LibTorch cannot read (torch.Size, NumPy, sparse "
        "or 8-bit floats, tensors with Python attributes, integers of "
        "more than 32 bits): its operation at {0} {1}; "
        "save tensors alone, {2}, as safetensors where you can",
        operations.position(), how, "{k: v.detach().clone() for k, v in tensors.items()}");
  }

  void pushKind(Value::Kind kind, size_t index = 0) { push({kind, uint32_t(index)}); }
  Error pushPlain() {
    pushKind(Value::Kind::Plain);
    return Error::success();
  }

  std::vector<Items> containers; ///< the elements of each
  std::vector<Function> functions;
  /// LibTorch takes the next two names after that of a tensor with attributes as the function that
  /// makes the tensor and its class, whatever they say.
  unsigned namesOfWrapper = 0;
};

void Machine::global(StringRef module, StringRef name) {
  if (namesOfWrapper != 0 && --namesOfWrapper == 0)
    return pushKind(Value::Kind::Function, functions.size() - 1);
  if (module == "torch" && name != "device")
    return pushKind(name.ends_with("Storage") ? Value::Kind::StorageType : Value::Kind::Plain);
  Function::Kind kind = Function::Kind::Other;
  if (module == "torch._utils")
    kind = Function::Kind::Tensor;
  else if (module == "torch._tensor" && name == "_rebuild_from_type_v2")
    kind = Function::Kind::Wrapper;
  else if (module == "collections" && name == "OrderedDict")
    kind = Function::Kind::Hooks; // of a tensor: LibTorch knows it as nothing else
  if (kind == Function::Kind::Wrapper)
    namesOfWrapper = 2;
  pushKind(Value::Kind::Function, functions.size());
  functions.push_back({kind});
}

/// REDUCE and BUILD.
Error Machine::call() {
  auto values = take(2);
  if (!values)
    return missing();
  if ((*values)[0].kind != Value::Kind::Function)
    return unreadable("calls what is no class or function");
  uint32_t index = (*values)[0].index;
  switch (functions[index].kind) {
  case Function::Kind::Wrapper:
    if (index + 1 >= functions.size() || functions[index + 1].kind != Function::Kind::Tensor)
      return unreadable("makes a tensor without saying how");
    [[fallthrough]];
  case Function::Kind::Hooks:
  case Function::Kind::Tensor:
    return pushPlain();
  case Function::Kind::Other:
    push(make(PickledContainer::Tuple, {(*values)[1]}));
    return Error::success();
  }
  llvm_unreachable("all kinds are handled");
}

/// BINPERSID.
Error Machine::makeStorage() {
  auto id = take(1);
  if (!id)
    return missing();
  const Value &parts = (*id)[0];
  if (parts.kind != Value::Kind::Container || containers[parts.index].size() < 2 ||
      containers[parts.index][1].kind != Value::Kind::StorageType)
    return unreadable("makes a storage of no element type");
  return pushPlain();
}

Error Machine::other(const PickleOperation &operation) {
  StringRef argument = operation.argument;
  switch (operation.code) {
  case 'c': {
    auto [module, rest] = argument.split('\n');
    global(module, rest.split('\n').first);
    return Error::success();
  }
  case '\x81': // NEWOBJ: LibTorch takes the class for the object
    return take(1) ? Error::success() : missing();
  case 'R':
  case 'b':
    return call();
  case 'Q':
    return makeStorage();
  case '\x80':
    if (argument != "\x02")
      return makeError(
          Code::PickledObject,
          "the pickle is of protocol {0}, and LibTorch reads protocol 2 alone; save it "
          "without pickle_protocol, as safetensors where you can",
          littleEndian(argument));
    return Error::success();
  case '\x8a':
    return argument.size() == 1 + sizeof(int64_t)
               ? pushPlain()
               : unreadable("is an integer of other than 8 bytes");
  default:
    return pushPlain();
  }
}

} // namespace

Error checkPickle(StringRef pickle) { return Machine(pickle).run(); }

} // namespace plait
