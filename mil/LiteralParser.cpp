// Errors, types, literals and attributes of MIL text.
#include "mil/LiteralParser.h"

#include <cmath>
#include <cstring>

namespace plait::mil {

namespace {

constexpr size_t kMaxRank = 16;
constexpr int64_t kMaxDim = int64_t(1) << 40;

/// Elements of a numeric tensor while they are read.
struct Elements {
  DType dtype;
  std::vector<int64_t> integers;
  std::vector<double> floats;
  /// Raw bits of NaNs, by index.
  std::vector<std::pair<size_t, uint64_t>> nans;
  std::vector<std::string> strings;

  size_t size() const {
    return dtype == DType::String ? strings.size()
           : isFloat(dtype)       ? floats.size()
                                  : integers.size();
  }

  /// In memory as the element type stores them.
  Expected<std::vector<uint8_t>> bytes() const {
    int64_t count = size();
    std::vector<uint8_t> raw;
    if (isFloat(dtype)) {
      auto wide = TensorData::from<double>(DType::F64, {count}, floats);
      auto narrow = wide.cast(dtype).bytes();
      if (!narrow)
        return narrow.takeError();
      raw = std::move(*narrow);
      unsigned width = bitWidth(dtype) / 8;
      for (auto [index, bits] : nans)
        std::memcpy(raw.data() + index * width, &bits, width);
      return raw;
    }
    raw.assign(byteSize(dtype, count), 0);
    unsigned width = bitWidth(dtype);
    for (int64_t i = 0; i < count; ++i) {
      uint64_t value = uint64_t(integers[i]);
      if (width >= 8) {
        std::memcpy(raw.data() + i * (width / 8), &value, width / 8);
        continue;
      }
      for (unsigned bit = 0; bit < width; ++bit)
        if (value >> bit & 1)
          raw[(i * width + bit) / 8] |= 1 << (i * width + bit) % 8;
    }
    return raw;
  }
};

bool inRange(DType dtype, int64_t value) {
  unsigned width = bitWidth(dtype);
  if (width == 64)
    return true;
  if (isUnsigned(dtype))
    return value >= 0 && value < int64_t(1) << width;
  return value >= -(int64_t(1) << (width - 1)) && value < int64_t(1) << (width - 1);
}

/// All bits of the exponent and some of the mantissa.
bool isNaN(DType dtype, uint64_t bits) {
  unsigned width = bitWidth(dtype);
  unsigned mantissa = dtype == DType::F16 ? 10 : dtype == DType::BF16 ? 7 : width == 32 ? 23 : 52;
  if (width < 64 && bits >> width)
    return false;
  uint64_t magnitude = bits & ~(uint64_t(1) << (width - 1));
  uint64_t infinity = (uint64_t(1) << (width - 1)) - (uint64_t(1) << mantissa);
  return magnitude > infinity;
}

} // namespace

// ---- errors ----

bool LiteralParser::fail(llvm::StringRef where, const std::string &message) {
  if (error_)
    return false;
  llvm::StringRef text = lexer_.text();
  size_t offset = where.data() ? where.data() - text.data() : text.size();
  size_t line = text.take_front(offset).count('\n') + 1;
  size_t begin = text.take_front(offset).rfind('\n') + 1; // npos + 1 is 0
  llvm::StringRef source = text.substr(begin).take_until([](char c) { return c == '\n'; });
  size_t column = offset - begin;
  // Long lines are cut around the place.
  size_t from = column > 80 ? column - 60 : 0;
  std::string shown = source.substr(from, 120).str();
  std::replace_if(shown.begin(), shown.end(), [](char c) { return (unsigned char)c < 0x20; }, ' ');
  error_ = fmt::format("{0}:{1}:{2}: {3}\n  {4}\n  {5}^", options_.fileName, line, column + 1,
                       message, shown, std::string(column - from, ' '));
  return false;
}

bool LiteralParser::unexpected(llvm::StringRef wanted) {
  if (token_.kind == Token::End)
    return fail(token_.text, "expected " + wanted.str() + " but the text ends");
  llvm::StringRef got = token_.text.take_front(40);
  if (token_.kind == Token::Bad)
    return fail(token_.text,
                got.starts_with("\"")
                    ? "a string without an end"
                    : "expected " + wanted.str() + ", not a character that MIL does not know");
  return fail(token_.text, "expected " + wanted.str() + ", not '" + got.str() + "'");
}
// ---- types ----

bool LiteralParser::startsType() const {
  if (token_.kind != Token::Identifier)
    return false;
  return parseDType(token_.text) || token_.is("tensor") || token_.is("list") ||
         token_.is("tuple") || token_.is("dict") || token_.is("state");
}

bool LiteralParser::parseDim(Dim &dim) {
  if (accept('?')) {
    dim = Dim::unknown();
    return true;
  }
  if (token_.kind == Token::Identifier) {
    dim = Dim::symbol(token_.text);
    advance();
    return true;
  }
  int64_t value;
  if (token_.kind != Token::Number)
    return unexpected("a dimension");
  if (token_.text.getAsInteger(10, value) || value < 0 || value > kMaxDim)
    return fail(token_.text, "'" + token_.text.str() + "' is no dimension");
  dim = value;
  advance();
  return true;
}

bool LiteralParser::parseType(Type &type, unsigned depth) {
  if (depth > kMaxDepth)
    return fail(token_.text, "types are nested too deeply");
  llvm::StringRef word = token_.text;
  if (token_.kind != Token::Identifier || !startsType())
    return unexpected("a type");
  advance();
  if (auto dtype = parseDType(word)) {
    type = Type::tensor(*dtype, llvm::ArrayRef<Dim>());
    return true;
  }
  if (!expect('<'))
    return false;
  if (word == "tensor") {
    auto dtype = parseDType(token_.text);
    if (token_.kind != Token::Identifier || !dtype)
      return unexpected("an element type");
    advance();
    Shape shape;
    if (!expect(',') || !expect('[') || !list(']', [&] {
          Dim dim;
          llvm::StringRef where = token_.text;
          if (!parseDim(dim))
            return false;
          shape.push_back(dim);
          return shape.size() <= kMaxRank || fail(where, "a tensor of too many dimensions");
        }))
      return false;
    type = Type::tensor(*dtype, shape);
    return expect('>');
  }
  Type element;
  if (word == "list") {
    Dim length;
    if (!parseType(element, depth + 1) || !expect(',') || !parseDim(length))
      return false;
    type = Type::list(element, length);
    return expect('>');
  }
  if (word == "state") {
    llvm::StringRef where = token_.text;
    if (!parseType(element, depth + 1))
      return false;
    if (!element.isTensor())
      return fail(where, "a state wraps a tensor");
    type = Type::state(element);
    return expect('>');
  }
  std::vector<Type> elements;
  llvm::StringRef where = token_.text;
  if (!list('>', [&] {
        elements.emplace_back();
        return parseType(elements.back(), depth + 1);
      }))
    return false;
  if (word == "dict") {
    if (elements.size() != 2)
      return fail(where, "a dict has a key type and a value type");
    type = Type::dict(elements[0], elements[1]);
  } else {
    type = Type::tuple(std::move(elements));
  }
  return true;
}
// ---- literals ----

bool LiteralParser::parseTensor(const Type &type, Attr &attr) {
  Elements elements{type.dtype(), {}, {}, {}, {}};
  DType dtype = type.dtype();
  auto element = [&] {
    Token token = token_;
    auto bad = [&](const char *what) {
      return token.kind == Token::End || token.kind == Token::Bad
                 ? unexpected(what)
                 : fail(token.text,
                        fmt::format("'{0}' is no {1}", token.text.take_front(40), what));
    };
    if (dtype == DType::String) {
      auto text = token.kind == Token::String ? unescape(token.text) : std::nullopt;
      if (!text)
        return bad("string");
      elements.strings.push_back(std::move(*text));
      advance();
      return true;
    }
    if (dtype == DType::Bool) {
      if (!token.is("true") && !token.is("false"))
        return bad("bool");
      elements.integers.push_back(token.is("true"));
      advance();
      return true;
    }
    if (isFloat(dtype)) {
      double value;
      if (token.is("nan")) {
        advance();
        uint64_t bits = 0;
        if (accept('(')) { // nan(0x7e00): the bits as stored
          if (token_.kind != Token::Number || token_.text.getAsInteger(0, bits))
            return unexpected("the bits of a NaN");
          if (!isNaN(dtype, bits))
            return fail(token_.text, fmt::format("{0} are not the bits of a NaN of {1}",
                                                 token_.text.take_front(40), name(dtype)));
          elements.nans.emplace_back(elements.floats.size(), bits);
          advance();
          if (!expect(')'))
            return false;
        }
        elements.floats.push_back(std::nan(""));
        return true;
      }
      if (token.is("inf") || token.text == "-inf" || token.text == "+inf") {
        value = token.text.starts_with("-") ? -HUGE_VAL : HUGE_VAL;
      } else if (token.kind != Token::Number || token.text.getAsDouble(value)) {
        return bad("number");
      }
      elements.floats.push_back(value);
      advance();
      return true;
    }
    int64_t value;
    uint64_t large;
    if (token.kind != Token::Number)
      return bad("integer");
    if (token.text.getAsInteger(0, value)) {
      if (dtype != DType::U64 || token.text.getAsInteger(0, large))
        return bad("integer");
      value = int64_t(large);
    } else if (!inRange(dtype, value) || (dtype == DType::U64 && value < 0)) {
      return fail(token.text,
                  fmt::format("{0} does not fit {1}", token.text.take_front(40), name(dtype)));
    }
    elements.integers.push_back(value);
    advance();
    return true;
  };

  llvm::StringRef where = token_.text;
  // Brackets nest as the dimensions do; one level of them may hold all elements.
  llvm::SmallVector<int64_t, 5> sizes;
  bool uniform = true;
  std::function<bool(size_t)> brackets = [&](size_t level) {
    if (level > kMaxRank)
      return fail(token_.text, "brackets are nested too deeply");
    int64_t count = 0;
    bool ok = list(']', [&] {
      ++count;
      return accept('[') ? brackets(level + 1) : element();
    });
    if (sizes.size() <= level)
      sizes.resize(level + 1, -1);
    uniform &= sizes[level] == -1 || sizes[level] == count;
    sizes[level] = count;
    return ok;
  };
  if (accept('[')) {
    if (!brackets(0))
      return false;
  } else {
    // A tensor of one element may stand without brackets.
    if (!element())
      return false;
    sizes.assign(type.rank(), 1);
  }
  llvm::SmallVector<int64_t, 5> shape;
  for (auto [i, d] : llvm::enumerate(type.shape())) {
    if (!d.isConst() && i >= sizes.size())
      return fail(where, "the brackets do not tell the dynamic dimensions of the type");
    shape.push_back(d.isConst() ? d.value() : sizes[i]);
  }
  bool flat = sizes.size() == 1;
  if (numElements(shape) != int64_t(elements.size()) || !uniform)
    return fail(where, fmt::format("{0} elements for a {1}", elements.size(), type.str()));
  if (!flat && elements.size())
    for (size_t i = 0; i < sizes.size(); ++i)
      if (sizes.size() != shape.size() || sizes[i] != shape[i])
        return fail(where, "the brackets do not nest as the dimensions of " + type.str());
  if (dtype == DType::String) {
    attr = Attr::strings(std::move(elements.strings), shape);
    return true;
  }
  auto bytes = elements.bytes();
  if (!bytes)
    return fail(where, llvm::toString(bytes.takeError()));
  attr = TensorData::fromBytes(dtype, shape, std::move(*bytes));
  return true;
}

bool LiteralParser::parseBlob(const Type &type, Attr &attr, unsigned depth) {
  llvm::StringRef where = token_.text;
  advance();
  std::string path;
  std::optional<int64_t> offset;
  if (!expect('(') || !list(')', [&] {
        llvm::StringRef key, at = token_.text;
        Attr value;
        if (!identifier(key, "path or offset") || !expect('=') || !parseLiteral(value, depth + 1))
          return false;
        if (key == "path" && value.string()) {
          path = *value.string();
          return true;
        }
        if (key == "offset" && value.tensor() && value.tensor()->numElements() == 1 &&
            isInteger(value.tensor()->dtype())) {
          offset = llvm::cantFail(value.tensor()->intValues())[0];
          return true;
        }
        return fail(at, "a BLOBFILE has a string path and an integer offset");
      }))
    return false;
  if (path.empty() || !offset)
    return fail(where, "a BLOBFILE needs path and offset");
  if (!type.hasStaticShape() || type.dtype() == DType::String)
    return fail(where, "a " + type.str() + " cannot lie in a weight file");
  if (!options_.blob)
    return fail(where, "no weight file is at hand for '" + path + "'");
  auto data = options_.blob(path, uint64_t(*offset), type);
  if (!data)
    return fail(where, llvm::toString(data.takeError()));
  bool isUnnamed =
      isFloat(type.dtype()) && data->kind() == TensorData::Kind::Strided && !data->node().origin;
  attr = isUnnamed ? data->withOrigin(Origin::unnamed()) : std::move(*data);
  return true;
}

bool LiteralParser::parseContents(const Type &type, Attr &attr, unsigned depth) {
  if (depth > kMaxDepth)
    return fail(token_.text, "literals are nested too deeply");
  // Elements may state their types again.
  if (startsType() && (next_.is('<') || next_.is('(')))
    return parseLiteral(attr, depth + 1);
  switch (type.kind()) {
  case Type::Kind::Tensor:
    return token_.is("BLOBFILE") ? parseBlob(type, attr, depth) : parseTensor(type, attr);
  case Type::Kind::List: {
    std::vector<Attr> values;
    llvm::StringRef where = token_.text;
    if (!expect('[') || !list(']', [&] {
          values.emplace_back();
          return parseContents(type.element(), values.back(), depth + 1);
        }))
      return false;
    if (type.length().isConst() && type.length().value() != int64_t(values.size()))
      return fail(where, fmt::format("{0} elements for a {1}", values.size(), type.str()));
    attr = Attr::list(type.element(), std::move(values));
    return true;
  }
  case Type::Kind::Tuple: {
    std::vector<Attr> values;
    llvm::StringRef where = token_.text;
    if (!expect('(') || !list(')', [&] {
          if (values.size() == type.elements().size())
            return fail(token_.text, "more elements than " + type.str() + " has");
          values.emplace_back();
          return parseContents(type.elements()[values.size() - 1], values.back(), depth + 1);
        }))
      return false;
    if (values.size() != type.elements().size())
      return fail(where, fmt::format("{0} elements for a {1}", values.size(), type.str()));
    attr = Attr::tuple(std::move(values));
    return true;
  }
  case Type::Kind::Dict: {
    Attr::Dict entries;
    if (!expect('{') || !list('}', [&] {
          entries.emplace_back();
          return expect('{') &&
                 parseContents(type.elements()[0], entries.back().first, depth + 1) &&
                 expect(',') &&
                 parseContents(type.elements()[1], entries.back().second, depth + 1) && expect('}');
        }))
      return false;
    attr = Attr::dict(type.elements()[0], type.elements()[1], std::move(entries));
    return true;
  }
  default:
    return fail(token_.text, "a " + type.str() + " has no literals");
  }
}

bool LiteralParser::parseLiteral(Attr &attr, unsigned depth) {
  Type type;
  if (depth > kMaxDepth)
    return fail(token_.text, "literals are nested too deeply");
  return parseType(type, depth) && expect('(') && parseContents(type, attr, depth + 1) &&
         expect(')');
}

bool LiteralParser::parseAttributes(Attributes &attributes) {
  return expect('[') && list(']', [&] {
           llvm::StringRef key;
           attributes.emplace_back();
           if (!identifier(key, "the name of an attribute") || !expect('='))
             return false;
           attributes.back().first = key.str();
           return parseLiteral(attributes.back().second);
         });
}
} // namespace plait::mil
