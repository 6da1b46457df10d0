// Counting brackets and members before parsing; LLVM's writer, into a string.
#include "support/Json.h"

namespace plait {

namespace json = llvm::json;

static constexpr unsigned kMaxJsonDepth = 64;

namespace {
struct Nesting {
  unsigned depth = 0;
  size_t members = 0; ///< colons outside of strings: members of all objects
};
} // namespace

static Nesting nestingOf(llvm::StringRef text) {
  Nesting shape;
  unsigned depth = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        inString = false;
      continue;
    }
    switch (c) {
    case '"':
      inString = true;
      break;
    case '[':
    case '{':
      shape.depth = std::max(shape.depth, ++depth);
      break;
    case ']':
    case '}':
      depth -= depth > 0;
      break;
    case ':':
      ++shape.members;
      break;
    default:
      break;
    }
  }
  return shape;
}

static size_t countMembers(const json::Value &value) {
  size_t count = 0;
  if (const json::Object *object = value.getAsObject()) {
    for (const auto &member : *object)
      count += 1 + countMembers(member.second);
  } else if (const json::Array *array = value.getAsArray()) {
    for (const json::Value &element : *array)
      count += countMembers(element);
  }
  return count;
}

Expected<json::Value> parseJson(llvm::StringRef text) {
  Nesting shape = nestingOf(text);
  if (shape.depth > kMaxJsonDepth)
    return makeError(Code::TooLarge, "the JSON is nested {0} levels deep; {1} is the limit",
                     shape.depth, kMaxJsonDepth);
  auto value = json::parse(text);
  if (!value)
    return makeError(Code::ArchiveDamaged, "the JSON is malformed: {0}",
                     llvm::toString(value.takeError()));
  // The parser keeps one of several members of a name.
  if (countMembers(*value) != shape.members)
    return makeError(Code::ArchiveDamaged, "the JSON has two members of one name");
  return value;
}

std::optional<int64_t> jsonInteger(const json::Value &value) {
  std::optional<double> number = value.getAsNumber();
  if (!number || *number != 0x1p63)
    return value.getAsInteger();
  // Written without a fraction, it may be one of those that a double rounds to 2^63.
  std::optional<uint64_t> whole = value.getAsUINT64();
  return whole && *whole <= uint64_t(INT64_MAX) ? std::optional(int64_t(*whole)) : std::nullopt;
}

std::string jsonText(const json::Value &value, unsigned indent) {
  std::string text;
  llvm::raw_string_ostream out(text);
  json::OStream(out, indent).value(value);
  return text;
}

} // namespace plait
