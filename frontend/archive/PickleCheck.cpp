// The machine of pickles on kinds of values; the grammar is in the header.
#include "frontend/archive/PickleCheck.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"

#include <optional>
#include <vector>

namespace plait {
namespace {

using llvm::StringRef;

/// Modules within modules take two a module. Values of this depth are freed by recursion within the
/// smallest stacks of threads, 512 KiB.
constexpr unsigned maxDepth = 2000;
/// Of a hundred bytes or more each, and of sixteen.
constexpr size_t maxContainers = size_t(1) << 22, maxValues = size_t(1) << 25;

/// How the argument of an operation is laid out.
struct Argument {
  unsigned bytes = 0;    ///< Fixed part.
  bool isLength = false; ///< That part is a length, and so many bytes follow.
  bool isLines = false;  ///< Two lines in place of all that.
};

/// For protocol 2, and the later operations that LibTorch reads; none for others.
std::optional<Argument> argumentOf(char code) {
  auto isOneOf = [&](StringRef codes) { return codes.contains(code); };
  // The second string: NEWOBJ, TUPLE1 to TUPLE3, NEWTRUE, NEWFALSE.
  if (isOneOf("()]}NtsuaeQRbld") || isOneOf("\x81\x85\x86\x87\x88\x89"))
    return Argument{};
  if (isOneOf("Kqh\x80")) // BININT1, BINPUT, BINGET, PROTO
    return Argument{1};
  if (isOneOf("M")) // BININT2
    return Argument{2};
  if (isOneOf("Jrj")) // BININT, LONG_BINPUT, LONG_BINGET
    return Argument{4};
  if (isOneOf("G")) // BINFLOAT
    return Argument{8};
  if (isOneOf("U\x8a\x8c")) // SHORT_BINSTRING, LONG1, SHORT_BINUNICODE
    return Argument{1, true};
  if (isOneOf("TX\x8b")) // BINSTRING, BINUNICODE, LONG4
    return Argument{4, true};
  if (isOneOf("\x8d")) // BINUNICODE8
    return Argument{8, true};
  if (isOneOf("c")) // GLOBAL
    return Argument{0, false, true};
  return std::nullopt;
}

uint64_t littleEndian(StringRef bytes) {
  uint64_t value = 0;
  for (char byte : llvm::reverse(bytes))
    value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

struct Value {
  enum class Kind : uint8_t { Plain, StorageType, Function, Container };
  Kind kind = Kind::Plain;
  uint32_t index = 0; ///< of functions and containers
};

/// Something that can be called, in the order in which LibTorch numbers them.
struct Function {
  enum class Kind : uint8_t { Other, Tensor, Wrapper, OrderedDict };
  Kind kind;
};

class Machine {
public:
  explicit Machine(StringRef pickle) : pickle(pickle) {}

  Error run();

  /// The pickle with OrderedDicts as dictionaries, after run().
  std::string withPlainDictionaries() const {
    std::string text;
    size_t done = 0;
    for (const auto &[position, operations] : replaced) {
      text += pickle.slice(done, position);
      text += operations;
      done = position + 1;
    }
    return text + pickle.drop_front(done).str();
  }

private:
  using Values = std::vector<Value>;
  struct Container {
    Values elements;
    bool isOrderedDict = false;
  };

  Error step(char code, StringRef argument);
  Error call(char code);
  Error checkDepth() const;
  void global(StringRef module, StringRef name);

  Error damaged(const char *how) const {
    return makeError("the pickle is damaged: its operation at {0} {1}; save the file again",
                     position, how);
  }
  /// What Python reads, but LibTorch does not.
  Error unreadable(const char *how) const {
    return makeError(
        "the pickle holds a value that LibTorch cannot read (torch.Size, NumPy, sparse "
        "or 8-bit floats, tensors with Python attributes, integers of "
        "more than 32 bits): its operation at {0} {1}; "
        "save tensors alone, {2}, as safetensors where you can",
        position, how, "{k: v.detach().clone() for k, v in tensors.items()}");
  }
  Error missing() const { return damaged("takes values that are not there"); }

  void push(Value::Kind kind = Value::Kind::Plain, size_t index = 0) {
    stack.push_back({kind, uint32_t(index)});
    ++pushed;
  }
  void pushContainer(Values elements, bool isOrderedDict = false) {
    push(Value::Kind::Container, containers.size());
    containers.push_back({std::move(elements), isOrderedDict});
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
      llvm::append_range(containers[stack.back().index].elements, values);
  }

  StringRef pickle;
  size_t position = 0; ///< of the operation
  Values stack, memo;
  std::vector<size_t> marks;
  std::vector<Container> containers;
  std::vector<Function> functions;
  size_t pushed = 0;
  /// LibTorch takes the next two names after that of a tensor with attributes as the function that
  /// makes the tensor and its class, whatever they say.
  unsigned namesOfWrapper = 0;
  std::vector<std::pair<size_t, StringRef>> replaced; ///< operations, by position
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
    kind = Function::Kind::OrderedDict;
  if (kind == Function::Kind::Wrapper)
    namesOfWrapper = 2;
  push(Value::Kind::Function, functions.size());
  functions.push_back({kind});
}

/// REDUCE and BUILD.
Error Machine::call(char code) {
  if (stack.size() < 2)
    return missing();
  Values values = take(2);
  if (code == 'b' && values[0].kind == Value::Kind::Container &&
      containers[values[0].index].isOrderedDict) {
    // The attributes of an OrderedDict: dropped, as NEWOBJ drops the last value.
    replaced.emplace_back(position, "\x81");
    stack.push_back(values[0]);
    return Error::success();
  }
  if (values[0].kind != Value::Kind::Function)
    return unreadable("calls what is no class or function");
  uint32_t index = values[0].index;
  switch (functions[index].kind) {
  case Function::Kind::OrderedDict:
    if (code == 'R' && values[1].kind == Value::Kind::Container &&
        containers[values[1].index].elements.empty()) {
      replaced.emplace_back(position, "\x81\x81}"); // both out, an empty dictionary in
      pushContainer({}, /*isOrderedDict=*/true);
    } else {
      push();
    }
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
    // Whoever writes pickles counts the values that it remembers.
    if (slot > std::max<uint64_t>(pushed, UINT8_MAX))
      return damaged("claims more than there is");
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
  case '\x81':
    if (stack.empty())
      return missing();
    stack.pop_back();
    return Error::success();
  case 'R':
  case 'b':
    return call(code);
  case 'Q': {
    if (stack.empty())
      return missing();
    Value id = take(1)[0];
    if (id.kind != Value::Kind::Container || containers[id.index].elements.size() < 2 ||
        containers[id.index].elements[1].kind != Value::Kind::StorageType)
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

/// Of containers in containers, along the longest way.
Error Machine::checkDepth() const {
  constexpr unsigned open = UINT32_MAX;
  std::vector<unsigned> depth(containers.size()); // 0: not seen
  struct Visit {
    uint32_t container;
    size_t next;
  };
  std::vector<Visit> visits;
  for (uint32_t root = 0; root < containers.size(); ++root) {
    if (depth[root] == 0)
      visits.push_back({root, 0});
    while (!visits.empty()) {
      auto &[index, next] = visits.back();
      const Values &elements = containers[index].elements;
      if (next == 0)
        depth[index] = open;
      if (next < elements.size()) {
        const Value &element = elements[next++];
        if (element.kind != Value::Kind::Container)
          continue;
        if (depth[element.index] == open)
          return makeError("the pickle holds a container that holds itself; only values that "
                           "end are read");
        if (depth[element.index] == 0)
          visits.push_back({element.index, 0});
        continue;
      }
      unsigned deepest = 0;
      for (const Value &element : elements)
        if (element.kind == Value::Kind::Container)
          deepest = std::max(deepest, depth[element.index]);
      depth[index] = deepest + 1;
      if (depth[index] > maxDepth)
        return makeError("the pickle nests containers more than {0} levels deep", maxDepth);
      visits.pop_back();
    }
  }
  return Error::success();
}

Error Machine::run() {
  while (position < pickle.size() && pickle[position] != '.') {
    char code = pickle[position];
    StringRef after = pickle.drop_front(position + 1);
    auto argument = argumentOf(code);
    if (!argument)
      break;
    auto tooShort = [&] { return damaged("claims more than there is"); };
    uint64_t size = argument->bytes;
    if (argument->isLines) {
      size_t first = after.find('\n');
      size_t second = first == StringRef::npos ? first : after.find('\n', first + 1);
      if (second == StringRef::npos)
        return tooShort();
      size = second + 1;
    }
    if (size > after.size())
      return tooShort();
    uint64_t value = littleEndian(after.take_front(argument->bytes));
    if (argument->isLength) {
      if (value > after.size() - size)
        return tooShort();
      size += value;
    }
    if (Error error = step(code, after.take_front(size)))
      return error;
    if (containers.size() > maxContainers || pushed > maxValues)
      return makeError("the pickle holds more than {0} containers or {1} values", maxContainers,
                       maxValues);
    position += 1 + size;
  }
  return checkDepth();
}

} // namespace

Error checkPickle(StringRef pickle) { return Machine(pickle).run(); }

Expected<std::string> withPlainDictionaries(StringRef pickle) {
  Machine machine(pickle);
  if (Error error = machine.run())
    return error;
  return machine.withPlainDictionaries();
}

} // namespace plait
