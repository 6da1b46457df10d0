// A recursive-descent parser for the grammar of InputSyntax.h.
#include "driver/InputSyntax.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>

namespace plait::driver {

using frontend::InputSpec;
using frontend::OutputSpec;
using llvm::StringRef;

namespace {

/// Core ML's limits: int32 sizes, rank 5, 128 enumerated shapes.
constexpr int64_t maxSize = INT32_MAX;
constexpr size_t maxRank = 5, maxShapes = 128;

class Parser {
public:
  explicit Parser(StringRef text, const char *what = "input",
                  const char *example = "x=fp16[1, 128]", const InputSyntax &syntax = {})
      : text_(text), rest_(text), what_(what), example_(example), syntax_(syntax) {}

  Expected<InputSpec> parse() {
    InputSpec input;
    StringRef beforeShape = text_.take_until([](char c) { return c == '[' || c == '{'; });
    bool nameAlone = syntax_.mayLeaveOutShape && beforeShape == text_ && !text_.contains('=');
    if (beforeShape.contains('=') || nameAlone) {
      auto [name, type] = text_.split('=');
      name = name.trim();
      if (!mil::isLegalName(name))
        return makeError(Code::IllegalName, "input '{0}': '{1}' cannot be a name in Core ML: {2}",
                         text_, name, mil::whyIllegal(name));
      input.name = name.str();
      rest_ = type;
    }
    if (nameAlone)
      return input;
    if (Error error = parseType(input))
      return error;
    if (Error error = parseDefault(input))
      return error;
    if (Error error = parseEnd())
      return error;
    return input;
  }

  Expected<OutputSpec> parseOutput() {
    auto [name, type] = text_.split('=');
    OutputSpec output(name.trim().str());
    if (!text_.contains('='))
      return output;
    rest_ = type;
    skipSpace();
    StringRef word = rest_.take_while(llvm::isAlnum);
    output.dtype = mil::parseDType(word);
    if (word != "image" && (!output.dtype || !mil::isFloat(*output.dtype) ||
                            mil::bitWidth(*output.dtype) > 32 || *output.dtype == mil::DType::BF16))
      return wanted("fp16, fp32 or an image");
    rest_ = rest_.drop_front(word.size());
    if (word == "image")
      if (Error error = parseColors(output.image, output.shape))
        return error;
    for (const Range &size : output.shape)
      if (!size.name.empty())
        return makeError(Code::InputShape,
                         "output '{0}': sizes of outputs follow from those of inputs; '{1}' cannot "
                         "be one",
                         text_, size.name);
    if (Error error = parseEnd())
      return error;
    return output;
  }

  Expected<mil::PixelArithmetic> parsePixels() {
    mil::PixelArithmetic pixels;
    if (Error error = parsePixels(pixels, 0))
      return error;
    if (Error error = parseEnd())
      return error;
    return pixels;
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
    return makeError(Code::InputSyntax, "{0} '{1}': {2} is wanted {3}; an example: {4}", what_,
                     text_, what.str(), where, example_);
  }
  Error parseEnd() {
    skipSpace();
    return rest_.empty() ? Error::success() : wanted("nothing more");
  }

  Error parseType(InputSpec &input) {
    skipSpace();
    StringRef word = rest_.take_while(llvm::isAlnum);
    if (word == "image") {
      rest_ = rest_.drop_front(word.size());
      return parseImage(input);
    }
    if (!word.empty()) {
      input.dtype = mil::parseDType(word);
      if (input.dtype == mil::DType::I64) {
        input.dtype = mil::DType::I32;
        if (syntax_.notes)
          syntax_.notes->push_back(
              {Code::InputType, fmt::format("input '{0}': Core ML has no int64 in its "
                                            "interface; it is int32",
                                            text_)});
      }
      if (input.dtype && mil::isInteger(*input.dtype) && !contains(allowed, *input.dtype))
        return makeError(
            Code::InputShape,
            "input '{0}': Core ML has no arrays of {1}; int32 holds its numbers{2}", text_, word,
            *input.dtype == mil::DType::U8 ? ", and an image of bytes is image[gray, …]" : "");
      if (!input.dtype || !contains(allowed, *input.dtype))
        return wanted("fp16, fp32, int32, int8, bool, image or a shape");
      rest_ = rest_.drop_front(word.size());
      if (skipSpace(); syntax_.mayLeaveOutShape && rest_.empty())
        return Error::success();
    }
    return parseShapes(input, [&](llvm::SmallVectorImpl<Range> &shape) -> Error {
      return consume("[") ? parseShape(shape) : wanted("'['");
    });
  }

  /// One shape, or several in {}.
  Error parseShapes(InputSpec &input,
                    llvm::function_ref<Error(llvm::SmallVectorImpl<Range> &)> parseOne) {
    if (!consume("{"))
      return parseOne(input.shape);
    do {
      llvm::SmallVector<Range, 5> shape;
      if (Error error = parseOne(shape))
        return error;
      llvm::SmallVector<int64_t, 5> sizes;
      for (const Range &dim : shape) {
        if (!dim.name.empty())
          return makeError(Code::InputShape,
                           "input '{0}': a shape inside {{}} has numbers; the shapes of several "
                           "inputs that stand at one place belong together anyway",
                           text_);
        if (dim.lower != dim.upper)
          return makeError(Code::InputShape,
                           "input '{0}': a shape inside {{}} has fixed sizes, not {1}..{2}", text_,
                           dim.lower, dim.upper);
        sizes.push_back(dim.lower);
      }
      if (!input.enumerated.empty() && input.enumerated[0].size() != sizes.size())
        return makeError(Code::InputShape,
                         "input '{0}': all shapes must have the same number of dimensions", text_);
      if (llvm::is_contained(input.enumerated, sizes))
        return makeError(Code::InputShape, "input '{0}': the shape [{1}] is listed twice", text_,
                         fmt::join(sizes, ", "));
      input.enumerated.push_back(sizes);
    } while (consume(","));
    if (input.enumerated.size() > maxShapes)
      return makeError(Code::InputShape, "input '{0}': Core ML takes at most {1} shapes", text_,
                       maxShapes);
    return consume("}") ? Error::success() : wanted("',' or '}'");
  }

  /// What every element is where no array is given.
  Error parseDefault(InputSpec &input) {
    if (!consume("default"))
      return Error::success();
    double value;
    if (!consume("="))
      return wanted("'='");
    if (Error error = parseNumber(value))
      return error;
    if (input.image || !input.enumerated.empty())
      return makeError(Code::InputShape,
                       "input '{0}': {1} has no default value in Core ML; an array of one shape or "
                       "of ranges can have one",
                       text_, input.image ? "an image" : "an input of enumerated shapes");
    bool isWhole = value == std::floor(value) && std::fabs(value) <= 1 << 24;
    auto dtype = input.dtype.value_or(mil::DType::F32);
    if (dtype == mil::DType::Bool && value != 0 && value != 1)
      return makeError(Code::InputShape, "input '{0}': the default value of a bool is 0 or 1",
                       text_);
    if (mil::isInteger(dtype) &&
        (!isWhole || (dtype == mil::DType::I8 && (value < -128 || value > 127))))
      return makeError(Code::InputShape,
                       "input '{0}': {1} is no default value of {2}; a whole number that it holds, "
                       "up to 2^24, is wanted",
                       text_, value, mil::name(dtype));
    if (dtype == mil::DType::F16 && std::fabs(value) > 65504)
      return makeError(Code::InputShape, "input '{0}': {1} lies beyond the range of fp16", text_,
                       value);
    input.defaultValue = value;
    return Error::success();
  }

  Error parseImage(InputSpec &input) {
    example_ = "photo=image[rgb, 1, 3, 224, 224] scale=1/255";
    if (Error error = parseShapes(input, [&](llvm::SmallVectorImpl<Range> &shape) {
          return parseColors(input.image, shape);
        }))
      return error;
    if (input.shape.empty() && input.enumerated.empty())
      return makeError(Code::ImageMismatch,
                       "input '{0}': an image has the shape [1, {1}, height, width]: [{2}, 1, {1}, "
                       "224, 224]",
                       text_, mil::channelsOf(*input.image), mil::name(*input.image));
    return parsePixels(input.pixels, mil::channelsOf(*input.image));
  }

  /// '[rgb, 1, 3, 224, 224]', or the format alone.
  Error parseColors(std::optional<mil::PixelFormat> &format, llvm::SmallVectorImpl<Range> &shape) {
    if (!consume("["))
      return wanted("'['");
    skipSpace();
    StringRef word = rest_.take_while(llvm::isAlnum);
    auto found = mil::parsePixelFormat(word);
    if (!found)
      return wanted("rgb, bgr, gray or gray16");
    if (format && format != found)
      return makeError(Code::ImageMismatch, "{0} '{1}': an image is either {2} or {3}", what_,
                       text_, mil::name(*format), mil::name(*found));
    format = found;
    rest_ = rest_.drop_front(word.size());
    if (consume("]"))
      return Error::success();
    if (!consume(","))
      return wanted("',' or ']'");
    if (Error error = parseShape(shape))
      return error;
    int64_t channels = mil::channelsOf(*format);
    auto is = [&](size_t axis, int64_t size) { return shape[axis] == Range{size, size}; };
    if (shape.size() != 4 || !is(0, 1) || !is(1, channels))
      return makeError(Code::ImageMismatch,
                       "{0} '{1}': a {2} image has the shape [1, {3}, height, width]", what_, text_,
                       mil::name(*format), channels);
    return Error::success();
  }

  /// `channels` is 0 where it is not known.
  Error parsePixels(mil::PixelArithmetic &pixels, int64_t channels) {
    while (true) {
      bool scale = consume("scale");
      if (!scale && !consume("bias"))
        return Error::success();
      llvm::SmallVectorImpl<double> &to = scale ? pixels.scale : pixels.bias;
      StringRef word = scale ? "scale" : "bias";
      if (!to.empty())
        return makeError(Code::InputSyntax, "{0} '{1}': {2} is said twice", what_, text_, word);
      if (!consume("="))
        return wanted("'='");
      if (Error error = parseNumbers(to))
        return error;
      if (channels && to.size() != 1 && int64_t(to.size()) != channels)
        return makeError(Code::ImageMismatch,
                         "{0} '{1}': {2} has {3} numbers for {4} channels; one for all, or one for "
                         "each, is wanted",
                         what_, text_, word, to.size(), channels);
    }
  }

  Error parseNumbers(llvm::SmallVectorImpl<double> &numbers) {
    bool several = consume("[");
    do {
      if (Error error = parseNumber(numbers.emplace_back()))
        return error;
    } while (several && consume(","));
    return !several || consume("]") ? Error::success() : wanted("',' or ']'");
  }

  Error parseNumber(double &number) {
    auto decimal = [&](double &value) {
      skipSpace();
      StringRef digits = rest_.take_while(
          [](char c) { return llvm::isDigit(c) || StringRef("+-.eE").contains(c); });
      if (digits.getAsDouble(value) || !std::isfinite(value))
        return false;
      rest_ = rest_.drop_front(digits.size());
      return true;
    };
    double divisor = 1;
    if (!decimal(number) || (consume("/") && (!decimal(divisor) || divisor == 0)))
      return wanted("a number, such as 0.5 or 1/255");
    number /= divisor;
    if (!std::isfinite(float(number)))
      return wanted("a number that fp32 holds");
    return Error::success();
  }

  /// Behind '[': to the end of the shape.
  Error parseShape(llvm::SmallVectorImpl<Range> &shape) {
    if (consume("]"))
      return makeError(Code::InputShape,
                       "input '{0}': Core ML has no inputs without dimensions; [1] holds one "
                       "number",
                       text_);
    int64_t elements = 1;
    do {
      Range dim{};
      skipSpace();
      dim.name = rest_.take_while([](char c) { return llvm::isAlnum(c) || c == '_'; }).str();
      if (dim.name.empty() || llvm::isDigit(dim.name.front())) {
        dim.name.clear();
      } else {
        if (!mil::isLegalName(dim.name))
          return makeError(Code::InputShape, "input '{0}': '{1}' cannot be the name of a size: {2}",
                           text_, dim.name, mil::whyIllegal(dim.name));
        rest_ = rest_.drop_front(dim.name.size());
      }
      if (dim.name.empty() || consume(":")) {
        if (Error error = parseSize(dim.lower))
          return error;
        dim.upper = dim.lower;
        if (consume(".."))
          if (Error error = parseSize(dim.upper))
            return error;
      }
      if (dim.upper < dim.lower)
        return makeError(Code::InputShape, "input '{0}': the range {1}..{2} is empty", text_,
                         dim.lower, dim.upper);
      shape.push_back(dim);
      elements = elements > maxSize ? elements : elements * std::max<int64_t>(dim.lower, 1);
    } while (consume(","));
    if (!consume("]"))
      return wanted("',' or ']'");
    if (shape.size() > maxRank)
      return makeError(Code::InputShape, "input '{0}': Core ML takes at most {1} dimensions", text_,
                       maxRank);
    if (elements > maxSize)
      return makeError(Code::InputShape, "input '{0}': more than {1} elements", text_, maxSize);
    return Error::success();
  }

  Error parseSize(int64_t &size) {
    skipSpace();
    StringRef digits = rest_.take_while(llvm::isDigit);
    if (digits.empty())
      return wanted("a size");
    if (digits.getAsInteger(10, size) || size > maxSize || size < 1)
      return makeError(Code::InputShape, "input '{0}': the size {1} is not from 1 to {2}", text_,
                       digits, maxSize);
    rest_ = rest_.drop_front(digits.size());
    return Error::success();
  }

  static constexpr mil::DTypeSet allowed = setOf(mil::DType::F16) | setOf(mil::DType::F32) |
                                           setOf(mil::DType::I32) | setOf(mil::DType::I8) |
                                           setOf(mil::DType::Bool);
  StringRef text_, rest_;
  const char *what_, *example_;
  InputSyntax syntax_;
};

} // namespace

Expected<InputSpec> parseInput(StringRef text, const InputSyntax &syntax) {
  return Parser(text, "input", "x=fp16[1, 128]", syntax).parse();
}
Expected<OutputSpec> parseOutput(StringRef text) {
  return Parser(text, "output", "y=fp32").parseOutput();
}
Expected<mil::PixelArithmetic> parsePixels(StringRef text) {
  return Parser(text, "pixels", "scale=1/255 bias=[-0.485, -0.456, -0.406]").parsePixels();
}

static void printRange(const InputSpec::Range &dim, llvm::raw_ostream &out) {
  out << dim.name;
  if (!dim.name.empty() && dim.upper)
    out << ':';
  if (dim.upper)
    out << dim.lower;
  if (dim.upper != dim.lower)
    out << ".." << dim.upper;
}

std::string inputText(const InputSpec &input) {
  std::string text;
  llvm::raw_string_ostream out(text);
  if (!input.name.empty())
    out << input.name << '=';
  if (input.dtype)
    out << mil::name(*input.dtype);
  if (input.image)
    out << "image";
  auto shape = [&](auto &&dims, auto &&print) {
    out << '[';
    if (input.image)
      out << mil::name(*input.image) << ", ";
    llvm::interleaveComma(dims, out, print);
    out << ']';
  };
  if (input.enumerated.empty()) {
    shape(input.shape, [&](const InputSpec::Range &dim) { printRange(dim, out); });
  } else {
    out << '{';
    for (size_t i = 0; i < input.enumerated.size(); ++i) {
      out << (i ? ", " : "");
      shape(input.enumerated[i], [&](int64_t size) { out << size; });
    }
    out << '}';
  }
  auto numbers = [&](StringRef word, llvm::ArrayRef<double> values) {
    if (!values.empty())
      out << fmt::format(" {0}=[{1}]", word, fmt::join(values, ", "));
  };
  if (input.defaultValue)
    out << fmt::format(" default={}", *input.defaultValue);
  numbers("scale", input.pixels.scale);
  numbers("bias", input.pixels.bias);
  return text;
}

std::string outputText(const OutputSpec &output) {
  std::string text = output.name;
  llvm::raw_string_ostream out(text);
  if (output.dtype)
    out << '=' << mil::name(*output.dtype);
  if (!output.image)
    return text;
  out << "=image[" << mil::name(*output.image);
  for (const InputSpec::Range &dim : output.shape) {
    out << ", ";
    printRange(dim, out);
  }
  out << ']';
  return text;
}

} // namespace plait::driver
