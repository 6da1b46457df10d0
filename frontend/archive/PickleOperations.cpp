// The table of operations, and the search through nested containers.
#include "frontend/archive/PickleOperations.h"

#include "llvm/ADT/STLExtras.h"

#include <vector>

namespace plait {

using llvm::StringRef;

/// Modules within modules take two a module. LibTorch frees values of this depth by recursion
/// within the smallest stacks of threads, 512 KiB.
static constexpr unsigned maxNesting = 2000;

namespace {
/// How the argument of an operation is laid out.
struct PickleArgument {
  unsigned bytes = 0;    ///< Fixed part.
  bool isLength = false; ///< That part is a length, and so many bytes follow.
  bool isLines = false;  ///< Two lines in place of all that.
};
} // namespace

static std::optional<PickleArgument> argumentOf(char code) {
  auto isOneOf = [&](StringRef codes) { return codes.contains(code); };
  // The second string: NEWOBJ, TUPLE1 to TUPLE3, NEWTRUE, NEWFALSE.
  if (isOneOf("()]}Nt0suaeQRbld") || isOneOf("\x81\x85\x86\x87\x88\x89"))
    return PickleArgument{};
  if (isOneOf("Kqh\x80")) // BININT1, BINPUT, BINGET, PROTO
    return PickleArgument{1};
  if (isOneOf("M")) // BININT2
    return PickleArgument{2};
  if (isOneOf("Jrj")) // BININT, LONG_BINPUT, LONG_BINGET
    return PickleArgument{4};
  if (isOneOf("G")) // BINFLOAT
    return PickleArgument{8};
  if (isOneOf("U\x8a\x8c")) // SHORT_BINSTRING, LONG1, SHORT_BINUNICODE
    return PickleArgument{1, true};
  if (isOneOf("TX\x8b")) // BINSTRING, BINUNICODE, LONG4
    return PickleArgument{4, true};
  if (isOneOf("\x8d")) // BINUNICODE8
    return PickleArgument{8, true};
  if (isOneOf("c")) // GLOBAL
    return PickleArgument{0, false, true};
  return std::nullopt;
}

uint64_t littleEndian(StringRef bytes) {
  uint64_t value = 0;
  for (char byte : llvm::reverse(bytes))
    value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

Error PickleOperations::damaged(const char *how) const {
  return makeError(Code::ArchiveDamaged,
                   "the pickle is damaged: its operation at {0} {1}; save the file again",
                   position_, how);
}

Expected<std::optional<PickleOperation>> PickleOperations::next() {
  position_ = end_;
  if (position_ >= pickle_.size() || pickle_[position_] == '.')
    return std::nullopt;
  char code = pickle_[position_];
  StringRef after = pickle_.drop_front(position_ + 1);
  auto argument = argumentOf(code);
  if (!argument)
    return std::nullopt;
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
  if (argument->isLength) {
    uint64_t length = littleEndian(after.take_front(argument->bytes));
    if (length > after.size() - size)
      return tooShort();
    size += length;
  }
  end_ = position_ + 1 + size;
  StringRef whole = after.take_front(size);
  return PickleOperation{code, whole, argument->isLength ? whole.drop_front(argument->bytes) : ""};
}

Error tooManyPickledValues() {
  return makeError(Code::TooLarge, "the pickle holds more than {0} containers or {1} values",
                   maxPickledContainers, maxPickledValues);
}

Error checkPickledNesting(
    uint32_t count,
    llvm::function_ref<std::optional<uint32_t>(uint32_t container, size_t &next)> nextInner) {
  constexpr unsigned open = UINT32_MAX;
  std::vector<unsigned> depth(count); // 0: not seen
  struct Visit {
    uint32_t container;
    size_t next;
    unsigned deepest; // of those that were left
  };
  std::vector<Visit> visits;
  auto enter = [&](uint32_t container) {
    depth[container] = open;
    visits.push_back({container, 0, 0});
  };
  for (uint32_t root = 0; root < count; ++root) {
    if (depth[root] == 0)
      enter(root);
    while (!visits.empty()) {
      Visit &visit = visits.back();
      if (auto inner = nextInner(visit.container, visit.next)) {
        if (depth[*inner] == open)
          return makeError(Code::PickledObject,
                           "the pickle holds a container that holds itself; only values that "
                           "end are read");
        if (depth[*inner] == 0)
          enter(*inner);
        else
          visit.deepest = std::max(visit.deepest, depth[*inner]);
        continue;
      }
      unsigned own = visit.deepest + 1;
      if (own > maxNesting)
        return makeError(Code::TooLarge, "the pickle nests containers more than {0} levels deep",
                         maxNesting);
      depth[visit.container] = own;
      visits.pop_back();
      if (!visits.empty())
        visits.back().deepest = std::max(visits.back().deepest, own);
    }
  }
  return Error::success();
}

} // namespace plait
