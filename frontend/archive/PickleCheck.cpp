// Walking over the operations of a pickle; the grammar is in the header.
#include "frontend/archive/PickleCheck.h"
#include "llvm/ADT/STLExtras.h"

#include <optional>

namespace plait {
namespace {

using llvm::StringRef;

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
  if (isOneOf("()]}NtsuaeQRb012ld") || isOneOf("\x81\x85\x86\x87\x88\x89"))
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

} // namespace

Error checkPickle(StringRef pickle) {
  StringRef rest = pickle;
  auto tooShort = [&] {
    return makeError("the pickle is damaged: its operation at {0} claims more than there is; save "
                     "the file again",
                     rest.data() - pickle.data());
  };
  while (!rest.empty() && rest[0] != '.') {
    char code = rest[0];
    StringRef after = rest.drop_front();
    auto argument = argumentOf(code);
    if (!argument)
      break;
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
    if (code == 'r' && value > pickle.size())
      return tooShort();
    rest = after.drop_front(size);
  }
  return Error::success();
}

} // namespace plait
