// Constants as text.
#include "mil/ArgumentConstant.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <cmath>

namespace plait::mil {

using llvm::StringRef;

static std::optional<ArgumentConstant::Scalar> parseScalar(StringRef text) {
  if (text.equals_insensitive("none"))
    return ArgumentConstant::Scalar();
  if (text.equals_insensitive("true") || text.equals_insensitive("false"))
    return ArgumentConstant::Scalar(text.equals_insensitive("true"));
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    StringRef inside = text.drop_front().drop_back();
    if (inside.find_first_of("\"\n\r") != StringRef::npos)
      return std::nullopt;
    return ArgumentConstant::Scalar(inside.str());
  }
  StringRef digits = text;
  bool isNegative = digits.consume_front("-");
  if (!isNegative)
    digits.consume_front("+");
  if (digits == "inf" || digits == "nan")
    return ArgumentConstant::Scalar(digits == "nan" ? std::nan("")
                                    : isNegative    ? -INFINITY
                                                    : INFINITY);
  if (digits.empty() || !(llvm::isDigit(digits.front()) || digits.front() == '.'))
    return std::nullopt;
  int64_t integer;
  text.consume_front("+");
  if (!text.getAsInteger(10, integer))
    return ArgumentConstant::Scalar(integer);
  double real;
  // What has no point or exponent is an integer that no int64 holds.
  if (digits.find_first_of(".eE") == StringRef::npos || text.getAsDouble(real))
    return std::nullopt;
  return ArgumentConstant::Scalar(real);
}

std::optional<ArgumentConstant> parseConstant(StringRef text) {
  text = text.trim();
  ArgumentConstant constant;
  constant.isList = text.consume_front("[");
  if (constant.isList && !text.consume_back("]"))
    return std::nullopt;
  text = text.trim();
  while (!(constant.isList && text.empty() && constant.values.empty())) {
    // A comma in a text is the text's.
    size_t end = text.starts_with("\"") ? text.find('"', 1) : 0;
    size_t comma = end == StringRef::npos ? end : text.find(',', end);
    auto scalar = parseScalar(text.take_front(comma).trim());
    if (!scalar || (comma != StringRef::npos && !constant.isList))
      return std::nullopt;
    constant.values.push_back(std::move(*scalar));
    if (comma == StringRef::npos)
      break;
    text = text.drop_front(comma + 1).trim();
  }
  return constant;
}

static std::string textOf(const ArgumentConstant::Scalar &scalar) {
  if (auto *flag = std::get_if<bool>(&scalar))
    return *flag ? "true" : "false";
  if (auto *integer = std::get_if<int64_t>(&scalar))
    return std::to_string(*integer);
  if (auto *text = std::get_if<std::string>(&scalar))
    return "\"" + *text + "\"";
  auto *real = std::get_if<double>(&scalar);
  if (!real)
    return "none";
  std::string digits = fmt::format("{}", *real);
  return llvm::StringRef(digits).find_first_of(".einf") == StringRef::npos ? digits + ".0" : digits;
}

std::string ArgumentConstant::str() const {
  std::vector<std::string> texts;
  for (const Scalar &value : values)
    texts.push_back(textOf(value));
  return isList ? "[" + llvm::join(texts, ", ") + "]" : texts.front();
}

} // namespace plait::mil
