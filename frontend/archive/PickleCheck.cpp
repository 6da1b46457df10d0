// The machine of pickles on kinds of values.
#include "frontend/archive/PickleCheck.h"

#include "frontend/archive/PickleOperations.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"

#include <vector>

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

class Machine {
public:
  explicit Machine(StringRef pickle) : operations(pickle) {}

  Error run();

private:
  using Values = std::vector<Value>;

  Error step(char code, StringRef argument);
  Error call();
  void global(StringRef module, StringRef name);

  /// What Python reads, but LibTorch does not.
  Error unreadable(const char *how) const {
    return makeError(
        "the pickle holds a value that LibTorch cannot read (torch.Size, NumPy, sparse "
        "or 8-bit floats, tensors with Python attributes, integers of "
        "more than 32 bits): its operation at {0} {1}; "
        "save tensors alone, {2}, as safetensors where you can",
        operations.position(), how, "{k: v.detach().clone() for k, v in tensors.items()}");
  }
  Error missing() const { return operations.damaged("takes values that are not there"); }

  void push(Value::Kind kind = Value::Kind::Plain, size_t index = 0) {
    stack.push_back({kind, uint32_t(index)});
    ++pushed;
  }
  void pushContainer(Values elements) {
    push(Value::Kind::Container, containers.size());
    containers.push_back(std::move(elements));
  }
  /// The last `count` values.
  Values take(size_t count) {
    Values values(stack.end() - ptrdiff_t(count), stack.end());
    stack.resize(stack.size() - count);
    return values;
  }
  /// Those above the last mark, of which at least `below` must be under it.
  std::optional<Values> takeToMark(size_t below) {
    if (marks.empty() || marks.back() > stack.size() || marks.back() < below)
      return std::nullopt;
    size_t count = stack.size() - marks.back();
    marks.pop_back();
    return take(count);
  }
  void addToTop(const Values &values) {
    if (stack.back().kind == Value::Kind::Container)
      llvm::append_range(containers[stack.back().index], values);
  }

  PickleOperations operations;
  Values stack, memo;
  std::vector<size_t> marks;
  std::vector<Values> containers; ///< the elements of each
  std::vector<Function> functions;
  size_t pushed = 0;
  /// LibTorch takes the next two names after that of a tensor with attributes as the function that
  /// makes the tensor and its class, whatever they say.
  unsigned namesOfWrapper = 0;
};

void Machine::global(StringRef module, StringRef name) {
  if (namesOfWrapper != 0 && --namesOfWrapper == 0)
    return push(Value::Kind::Function, functions.size() - 1);
  if (module == "torch" && name != "device")
    return push(name.ends_with("Storage") ? Value::Kind::StorageType : Value::Kind::Plain);
  Function::Kind kind = Function::Kind::Other;
  if (module == "torch._utils")
    kind = Function::Kind::Tensor;
  else if (module == "torch._tensor" && name == "_rebuild_from_type_v2")
    kind = Function::Kind::Wrapper;
  else if (module == "collections" && name == "OrderedDict")
    kind = Function::Kind::Hooks; // of a tensor: LibTorch knows it as nothing else
  if (kind == Function::Kind::Wrapper)
    namesOfWrapper = 2;
  push(Value::Kind::Function, functions.size());
  functions.push_back({kind});
}

/// REDUCE and BUILD.
Error Machine::call() {
  if (stack.size() < 2)
    return missing();
  Values values = take(2);
  if (values[0].kind != Value::Kind::Function)
    return unreadable("calls what is no class or function");
  uint32_t index = values[0].index;
  switch (functions[index].kind) {
  case Function::Kind::Hooks:
    push();
    return Error::success();
  case Function::Kind::Wrapper:
    if (index + 1 >= functions.size() || functions[index + 1].kind != Function::Kind::Tensor)
      return unreadable("makes a tensor without saying how");
    [[fallthrough]];
  case Function::Kind::Tensor:
    push();
    return Error::success();
  case Function::Kind::Other:
    pushContainer({values[1]});
    return Error::success();
  }
  llvm_unreachable("all kinds are handled");
}

Error Machine::step(char code, StringRef argument) {
  switch (code) {
  case '(':
    marks.push_back(stack.size());
    return Error::success();
  case ')':
  case ']':
  case '}':
    pushContainer({});
    return Error::success();
  case '\x85':
  case '\x86':
  case '\x87': {
    size_t count = size_t(code - '\x85') + 1;
    if (stack.size() < count)
      return missing();
    pushContainer(take(count));
    return Error::success();
  }
  case 't':
  case 'l':
  case 'd': {
    auto values = takeToMark(0);
    if (!values || (code == 'd' && values->size() % 2 != 0))
      return missing();
    pushContainer(std::move(*values));
    return Error::success();
  }
  case 'e':
  case 'u': {
    auto values = takeToMark(1);
    if (!values || (code == 'u' && values->size() % 2 != 0))
      return missing();
    addToTop(*values);
    return Error::success();
  }
  case 'a':
  case 's': {
    size_t count = code == 'a' ? 1 : 2;
    if (stack.size() <= count)
      return missing();
    addToTop(take(count));
    return Error::success();
  }
  case 'q':
  case 'r': {
    uint64_t slot = littleEndian(argument);
    if (stack.empty())
      return missing();
    if (!isMemoSlot(slot, pushed))
      return operations.damaged("claims more than there is");
    if (slot >= memo.size())
      memo.resize(slot + 1);
    memo[slot] = stack.back();
    return Error::success();
  }
  case 'h':
  case 'j': {
    uint64_t slot = littleEndian(argument);
    if (slot >= memo.size())
      return missing();
    push(memo[slot].kind, memo[slot].index);
    return Error::success();
  }
  case 'c': {
    auto [module, rest] = argument.split('\n');
    global(module, rest.split('\n').first);
    return Error::success();
  }
  case '0':
  case '\x81':
    if (stack.empty())
      return missing();
    stack.pop_back();
    return Error::success();
  case 'R':
  case 'b':
    return call();
  case 'Q': {
    if (stack.empty())
      return missing();
    Value id = take(1)[0];
    if (id.kind != Value::Kind::Container || containers[id.index].size() < 2 ||
        containers[id.index][1].kind != Value::Kind::StorageType)
      return unreadable("makes a storage of no element type");
    push();
    return Error::success();
  }
  case '\x80':
    if (argument != "\x02")
      return makeError(
          "the pickle is of protocol {0}, and LibTorch reads protocol 2 alone; save it "
          "without pickle_protocol, as safetensors where you can",
          littleEndian(argument));
    return Error::success();
  case '\x8a':
    if (argument.size() != 1 + sizeof(int64_t))
      return unreadable("is an integer of other than 8 bytes");
    push();
    return Error::success();
  default:
    push();
    return Error::success();
  }
}

Error Machine::run() {
  while (true) {
    auto operation = operations.next();
    if (!operation)
      return operation.takeError();
    if (!*operation)
      break;
    if (Error error = step((*operation)->code, (*operation)->argument))
      return error;
    if (containers.size() > maxPickledContainers || pushed > maxPickledValues)
      return tooManyPickledValues();
  }
  return checkPickledNesting(
      containers.size(), [&](uint32_t container, size_t &next) -> std::optional<uint32_t> {
        for (const Values &elements = containers[container]; next < elements.size();)
          if (const Value &element = elements[next++]; element.kind == Value::Kind::Container)
            return element.index;
        return std::nullopt;
      });
}

} // namespace

Error checkPickle(StringRef pickle) { return Machine(pickle).run(); }

} // namespace plait
