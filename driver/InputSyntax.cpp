// A recursive-descent parser for the grammar of InputSyntax.h.
#include "driver/InputSyntax.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using frontend::InputSpec;
using llvm::StringRef;

namespace {

/// Core ML's limits: int32 sizes, rank 5, 128 enumerated shapes.
constexpr int64_t maxSize = INT32_MAX;
constexpr size_t maxRank = 5, maxShapes = 128;

class Parser {
public:
  explicit Parser(StringRef text) : text_(text), rest_(text) {}

  Expected<InputSpec> parse() {
    InputSpec input;
    if (text_.contains('=')) {
      auto [name, type] = text_.split('=');
      name = name.trim();
      if (!mil::isLegalName(name))
        return makeError("input '{0}': '{1}' cannot be a name in Core ML: {2}", text_, name,
                         mil::whyIllegal(name));
      input.name = name.str();
      rest_ = type;
    }
    if (Error error = parseType(input))
      return error;
    skipSpace();
    if (!rest_.empty())
      return wanted("nothing more");
    return input;
  }

private:
  using Range = InputSpec::Range;

  void skipSpace() { rest_ = rest_.ltrim(); }
  bool consume(StringRef token) {
    skipSpace();
    return rest_.consume_front(token);
  }
  Error wanted(const llvm::Twine &what) {
    skipSpace();
    std::string where = rest_.empty() ? "at the end" : ("at '" + rest_ + "'").str();
    return makeError("input '{0}': {1} is wanted {2}; an example: x=fp16[1, 128]", text_,
                     what.str(), where);
  }

  Error parseType(InputSpec &input) {
    skipSpace();
    StringRef word = rest_.take_while(llvm::isAlnum);
    if (!word.empty()) {
      input.dtype = mil::parseDType(word);
      if (!input.dtype || !contains(allowed, *input.dtype))
        return wanted("fp16, fp32, int32, bool or a shape");
      rest_ = rest_.drop_front(word.size());
    }
    if (!consume("{"))
      return parseShape(input.shape);
    do {
      llvm::SmallVector<Range, 5> shape;
      if (Error error = parseShape(shape))
        return error;
      llvm::SmallVector<int64_t, 5> sizes;
      for (Range dim : shape) {
        if (dim.lower != dim.upper)
          return makeError("input '{0}': a shape inside {{}} has fixed sizes, not {1}..{2}", text_,
                           dim.lower, dim.upper);
        sizes.push_back(dim.lower);
      }
      if (!input.enumerated.empty() && input.enumerated[0].size() != sizes.size())
        return makeError("input '{0}': all shapes must have the same number of dimensions", text_);
      if (llvm::is_contained(input.enumerated, sizes))
        return makeError("input '{0}': the shape [{1}] is listed twice", text_,
                         fmt::join(sizes, ", "));
      input.enumerated.push_back(sizes);
    } while (consume(","));
    if (input.enumerated.size() > maxShapes)
      return makeError("input '{0}': Core ML takes at most {1} shapes", text_, maxShapes);
    return consume("}") ? Error::success() : wanted("',' or '}'");
  }

  Error parseShape(llvm::SmallVectorImpl<Range> &shape) {
    if (!consume("["))
      return wanted("'['");
    if (consume("]"))
      return makeError("input '{0}': Core ML has no inputs without dimensions; [1] holds one "
                       "number",
                       text_);
    int64_t elements = 1;
    do {
      Range dim;
      if (Error error = parseSize(dim.lower))
        return error;
      dim.upper = dim.lower;
      if (consume(".."))
        if (Error error = parseSize(dim.upper))
          return error;
      if (dim.upper < dim.lower)
        return makeError("input '{0}': the range {1}..{2} is empty", text_, dim.lower, dim.upper);
      shape.push_back(dim);
      elements = elements > maxSize ? elements : elements * dim.lower;
    } while (consume(","));
    if (!consume("]"))
      return wanted("',' or ']'");
    if (shape.size() > maxRank)
      return makeError("input '{0}': Core ML takes at most {1} dimensions", text_, maxRank);
    if (elements > maxSize)
      return makeError("input '{0}': more than {1} elements", text_, maxSize);
    return Error::success();
  }

  Error parseSize(int64_t &size) {
    skipSpace();
    StringRef digits = rest_.take_while(llvm::isDigit);
    if (digits.empty())
      return wanted("a size");
    if (digits.getAsInteger(10, size) || size > maxSize || size < 1)
      return makeError("input '{0}': the size {1} is not from 1 to {2}", text_, digits, maxSize);
    rest_ = rest_.drop_front(digits.size());
    return Error::success();
  }

  static constexpr mil::DTypeSet allowed = setOf(mil::DType::F16) | setOf(mil::DType::F32) |
                                           setOf(mil::DType::I32) | setOf(mil::DType::Bool);
  StringRef text_, rest_;
};

} // namespace

Expected<InputSpec> parseInput(StringRef text) { return Parser(text).parse(); }

std::string inputText(const InputSpec &input) {
  std::string text;
  llvm::raw_string_ostream out(text);
  if (!input.name.empty())
    out << input.name << '=';
  if (input.dtype)
    out << mil::name(*input.dtype);
  auto shape = [&](auto &&dims, auto &&print) {
    out << '[';
    llvm::interleaveComma(dims, out, print);
    out << ']';
  };
  if (input.enumerated.empty()) {
    shape(input.shape, [&](InputSpec::Range dim) {
      out << dim.lower;
      if (dim.upper != dim.lower)
        out << ".." << dim.upper;
    });
    return text;
  }
  out << '{';
  for (size_t i = 0; i < input.enumerated.size(); ++i) {
    out << (i ? ", " : "");
    shape(input.enumerated[i], [&](int64_t size) { out << size; });
  }
  out << '}';
  return text;
}

} // namespace plait::driver
