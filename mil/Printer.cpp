// Writes programs as MIL text.
#include "mil/Printer.h"

#include "mil/Evaluator.h"
#include "mil/FlexibleShapes.h"
#include "mil/SizeNames.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"
#include <cmath>
#include <cstring>

namespace plait::mil {

namespace {

/// Elements read at a time for a digest.
constexpr int64_t kTile = int64_t(1) << 20;

class Printer {
public:
  Printer(llvm::raw_ostream &os, const PrintOptions &options) : os_(os), options_(options) {}

  void program(const Program &program);
  void function(const Function &function);
  void statement(const Op &op, unsigned indent);

private:
  void block(const Block &block, unsigned indent);
  void type(const Type &type);
  /// `type name, type name`
  void typed(llvm::ArrayRef<std::unique_ptr<Value>> values) {
    llvm::interleaveComma(values, os_, [&](const auto &value) {
      type(value->type);
      os_ << ' ' << value->name;
    });
  }
  using Attributes = std::vector<std::pair<std::string, Attr>>;
  void attributes(llvm::ArrayRef<Attributes::value_type> attributes);
  /// `type(contents)`
  void literal(const Attr &attr);
  void contents(const Attr &attr);
  void tensor(const TensorData &tensor);
  void elements(const TensorData &tensor, llvm::ArrayRef<uint8_t> bytes);
  void blob(const TensorData &tensor);
  void string(llvm::StringRef text);
  /// `[a, [b, c]]`: `count` elements in the nesting of `shape`.
  void nested(llvm::ArrayRef<int64_t> shape, llvm::function_ref<void(int64_t)> element);
  void operand(const Op &op, unsigned param, const Value &value);
  /// Whether a constant is written as a literal where the text could also name it.
  bool standsAtItsUse(const Op &constant) const {
    const Value &value = *constant.result();
    return options_.readable && value.hasOneUse() && !value.isOutput();
  }

  llvm::raw_ostream &os_;
  const PrintOptions &options_;
  /// What follows the statement in a comment.
  std::string comment_;
  uint64_t nextOffset_ = 64;
};

// ---- types
// ---------------------------------------------------------------------------------------

void Printer::type(const Type &t) {
  auto dimension = [&](const Dim &d) {
    if (d.isConst())
      os_ << d.value();
    else if (options_.symbols && d.isSymbol() && d.str()[0] != '?')
      os_ << d.str();
    else
      os_ << '?';
  };
  switch (t.kind()) {
  case Type::Kind::Invalid:
    os_ << "<invalid>";
    return;
  case Type::Kind::Tensor:
    if (t.isScalar()) {
      os_ << name(t.dtype());
      return;
    }
    os_ << "tensor<" << name(t.dtype()) << ", [";
    llvm::interleaveComma(t.shape(), os_, dimension);
    os_ << "]>";
    return;
  case Type::Kind::List:
    os_ << "list<";
    type(t.element());
    os_ << ", ";
    dimension(t.length());
    os_ << '>';
    return;
  case Type::Kind::State:
    os_ << "state<";
    type(t.element());
    os_ << '>';
    return;
  case Type::Kind::Tuple:
  case Type::Kind::Dict:
    os_ << (t.kind() == Type::Kind::Tuple ? "tuple<" : "dict<");
    llvm::interleaveComma(t.elements(), os_, [&](const Type &e) { type(e); });
    os_ << '>';
    return;
  }
}

// ---- literals
// ------------------------------------------------------------------------------------

void Printer::string(llvm::StringRef text) {
  os_ << '"';
  for (unsigned char c : text) {
    if (c == '"' || c == '\\')
      os_ << '\\' << c;
    else if (c == '\n')
      os_ << "\\n";
    else if (c == '\t')
      os_ << "\\t";
    else if (c == '\r')
      os_ << "\\r";
    else if (c < 0x20 || c == 0x7f)
      os_ << "\\x" << llvm::hexdigit(c >> 4, true) << llvm::hexdigit(c & 15, true);
    else
      os_ << c;
  }
  os_ << '"';
}

/// "0x1.8p-3": exact, and the same on every platform.
void hexFloat(llvm::raw_ostream &os, double value) {
  if (std::signbit(value))
    os << '-';
  value = std::fabs(value);
  if (std::isinf(value)) {
    os << "inf";
    return;
  }
  int exponent = 0;
  uint64_t mantissa = uint64_t(std::ldexp(std::frexp(value, &exponent), 53)); // 53 bits or 0
  if (!mantissa) {
    os << "0x0p+0";
    return;
  }
  uint64_t fraction = mantissa & ((uint64_t(1) << 52) - 1);
  os << "0x1";
  if (fraction) {
    std::string digits = llvm::utohexstr(fraction, true, 13);
    os << '.' << llvm::StringRef(digits).rtrim('0');
  }
  os << 'p' << (exponent - 1 < 0 ? '-' : '+') << std::abs(exponent - 1);
}

/// "0.25", "1e-05": the shortest decimal that reads back as this element.
void decimal(llvm::raw_ostream &os, DType dtype, double value) {
  if (std::isinf(value)) {
    os << (value < 0 ? "-inf" : "inf");
    return;
  }
  if (value == std::trunc(value) && std::fabs(value) < 1e7) {
    os << (std::signbit(value) ? "-" : "") << int64_t(std::fabs(value));
    return;
  }
  for (int digits = 1;; ++digits) {
    std::string text = fmt::format("{:.{}g}", value, digits);
    double read = 0;
    llvm::StringRef(text).getAsDouble(read);
    auto stored = TensorData::from<double>(DType::F64, {}, read).cast(dtype).floatValues();
    if (digits == 17 || llvm::cantFail(std::move(stored))[0] == value) {
      os << text;
      return;
    }
  }
}

void Printer::nested(llvm::ArrayRef<int64_t> shape, llvm::function_ref<void(int64_t)> element) {
  if (shape.empty())
    return element(0);
  int64_t count = numElements(shape);
  if (count == 0) {
    // Every level that is not empty holds empty ones, unless these would be many.
    int64_t rows = 1;
    for (int64_t size : shape)
      rows = size ? std::min<int64_t>(rows * std::min<int64_t>(size, 65), 65) : rows;
    if (rows > 64) {
      os_ << "[]";
      return;
    }
    std::string text = "[]";
    for (size_t i = shape.size(); i-- > 1;) {
      if (shape[i - 1] == 0) {
        text = "[]";
        continue;
      }
      std::string row;
      for (int64_t k = 0; k < shape[i - 1]; ++k)
        row += (k ? ", " : "") + text;
      text = "[" + row + "]";
    }
    os_ << text;
    return;
  }
  // Brackets open before an element that begins a level and close after one that ends it.
  for (int64_t i = 0; i < count; ++i) {
    unsigned opened = 0, closed = 0;
    int64_t span = 1;
    for (size_t level = shape.size(); level-- > 0;) {
      span *= shape[level];
      opened += i % span == 0;
      closed += (i + 1) % span == 0;
    }
    if (i)
      os_ << ", ";
    os_ << std::string(opened, '[');
    element(i);
    os_ << std::string(closed, ']');
  }
}

void Printer::elements(const TensorData &tensor, llvm::ArrayRef<uint8_t> bytes) {
  DType dtype = tensor.dtype();
  auto values = TensorData::fromBytes(dtype, tensor.shape(), bytes.vec());
  if (isFloat(dtype)) {
    auto floats = llvm::cantFail(values.floatValues());
    nested(tensor.shape(), [&](int64_t i) {
      if (!std::isnan(floats[i]))
        return options_.readable ? decimal(os_, dtype, floats[i]) : hexFloat(os_, floats[i]);
      uint64_t raw = 0;
      unsigned width = bitWidth(dtype) / 8;
      std::memcpy(&raw, bytes.data() + i * width, width);
      os_ << "nan(0x" << llvm::utohexstr(raw, true) << ')';
    });
    return;
  }
  auto integers = llvm::cantFail(values.intValues());
  nested(tensor.shape(), [&](int64_t i) {
    if (dtype == DType::Bool)
      os_ << (integers[i] ? "true" : "false");
    else if (dtype == DType::U64)
      os_ << uint64_t(integers[i]);
    else
      os_ << integers[i];
  });
}

void Printer::blob(const TensorData &tensor) {
  BlobLocation location;
  if (options_.blob) {
    location = options_.blob(tensor);
  } else {
    location.offset = nextOffset_;
    nextOffset_ = llvm::alignTo(nextOffset_ + 64 + tensor.byteSize(), 64);
  }
  os_ << "BLOBFILE(path = string(";
  string(location.path);
  os_ << "), offset = uint64(" << location.offset << "))";
  if (!options_.digests)
    return;
  auto reader = TensorReader::create(tensor, options_.evaluator);
  comment_ += comment_.empty() ? " //" : ";";
  if (!reader) {
    comment_ += " not computed: " + llvm::toString(reader.takeError());
    return;
  }
  // A digest of the digests of tiles.
  std::string digests;
  std::vector<uint8_t> tile;
  for (int64_t begin = 0, count = tensor.numElements(); begin < count; begin += kTile) {
    int64_t n = std::min(kTile, count - begin);
    tile.resize(byteSize(tensor.dtype(), n));
    reader->read(begin, n, tile.data());
    uint64_t digest = llvm::xxh3_64bits(tile);
    digests.append(reinterpret_cast<const char *>(&digest), sizeof(digest));
  }
  comment_ += " xxh3 " + llvm::utohexstr(llvm::xxh3_64bits(digests), true, 16);
}

void Printer::tensor(const TensorData &tensor) {
  bool inlined = tensor.dtype() == DType::Bool || tensor.dtype() == DType::I64 ||
                 tensor.dtype() == DType::U64 || tensor.dtype() == DType::F64 ||
                 tensor.numElements() <= options_.maxInlineElements;
  if (inlined) {
    auto bytes = tensor.bytes(options_.evaluator);
    if (bytes)
      return elements(tensor, *bytes);
    llvm::consumeError(bytes.takeError());
  }
  blob(tensor);
}

void Printer::contents(const Attr &attr) {
  if (const TensorData *data = attr.tensor())
    return tensor(*data);
  if (const auto *strings = attr.strings()) {
    auto shape = constShape(attr.type().shape());
    return nested(*shape, [&](int64_t i) { string((*strings)[i]); });
  }
  if (const auto *values = attr.elements()) {
    bool list = attr.type().isList();
    os_ << (list ? '[' : '(');
    llvm::interleaveComma(*values, os_, [&](const Attr &value) { contents(value); });
    os_ << (list ? ']' : ')');
    return;
  }
  os_ << '{';
  if (const auto *entries = attr.dict())
    llvm::interleaveComma(*entries, os_, [&](const auto &entry) {
      os_ << '{';
      contents(entry.first);
      os_ << ", ";
      contents(entry.second);
      os_ << '}';
    });
  os_ << '}';
}

void Printer::literal(const Attr &attr) {
  type(attr.type());
  os_ << '(';
  contents(attr);
  os_ << ')';
}

void Printer::attributes(llvm::ArrayRef<Attributes::value_type> attributes) {
  llvm::interleaveComma(attributes, os_, [&](const auto &attribute) {
    os_ << attribute.first << " = ";
    literal(attribute.second);
  });
}

// ---- statements
// ----------------------------------------------------------------------------------

void Printer::operand(const Op &op, unsigned param, const Value &value) {
  const Attr *attr = constAttr(&value);
  if (attr && (writesInline(op, param) || standsAtItsUse(*value.def())))
    literal(*attr);
  else
    os_ << value.name;
}

void Printer::statement(const Op &op, unsigned indent) {
  os_.indent(indent);
  if (op.numResults()) {
    typed(op.results());
    os_ << " = ";
  }
  os_ << op.info().name << '(';
  auto params = op.info().params;
  bool asAttributes = keepsOperandsInAttributes(op);
  auto operands = [&](llvm::StringRef separator) {
    for (unsigned param = 0; param < params.size(); ++param) {
      auto bound = op.operands(param);
      if (bound.empty())
        continue;
      os_ << separator << params[param].name << " = ";
      separator = ", ";
      if (params[param].isVariadic())
        os_ << '(';
      llvm::interleaveComma(bound, os_, [&](const Operand &o) { operand(op, param, *o.get()); });
      if (params[param].isVariadic())
        os_ << ')';
    }
  };
  if (!asAttributes)
    operands("");
  os_ << ')';
  llvm::StringRef separator = "[";
  auto attribute = [&](llvm::StringRef key) -> llvm::raw_ostream & {
    os_ << separator << key << " = ";
    separator = ", ";
    return os_;
  };
  // An operation without a name takes that of its result when it is read.
  bool implied = options_.readable && op.numResults() && op.name == op.result()->name;
  if (!implied || asAttributes) {
    attribute("name") << "string(";
    string(op.name);
    os_ << ')';
  }
  if (asAttributes)
    operands(", ");
  if (op.is(OpKind::const_)) {
    attribute("val");
    literal(op.val());
    const TensorData *tensor = op.val().tensor();
    Origin origin = tensor ? originOf(*tensor) : Origin();
    if (auto paths = origin.paths(); !paths.empty()) {
      os_ << ", " << (origin.isComputed() ? computedFromAttribute : parameterAttribute) << " = ";
      std::vector<std::string> names(paths.begin(), paths.end());
      int64_t count = int64_t(names.size());
      literal(count == 1 ? Attr::string(names[0]) : Attr::strings(std::move(names), {count}));
    }
  }
  for (const auto &[key, value] : op.attributes) {
    attribute(key);
    literal(value);
  }
  if (separator != "[")
    os_ << ']';
  if (!op.blocks().empty()) {
    os_ << " {\n";
    for (auto [i, inner] : llvm::enumerate(op.blocks())) {
      os_.indent(indent + 4) << "block" << i << '(';
      typed(inner->args());
      os_ << ") ";
      block(*inner, indent + 4);
    }
    os_.indent(indent) << '}';
  }
  if (options_.locations && op.location && !op.is(OpKind::const_)) {
    // A line of source may hold anything but the end of this one.
    std::string place = op.location.str();
    std::replace(place.begin(), place.end(), '\n', ' ');
    comment_ += (comment_.empty() ? " // " : "; ") + place;
  }
  os_ << ';' << comment_ << '\n';
  comment_.clear();
}

void Printer::block(const Block &block, unsigned indent) {
  os_ << "{\n";
  for (const Op &op : block)
    if (!op.is(OpKind::const_) || !(isInlineOnly(op) || standsAtItsUse(op)))
      statement(op, indent + 4);
  os_.indent(indent) << "} -> (";
  llvm::interleaveComma(block.outputs(), os_, [&](const Operand &o) { os_ << o->name; });
  os_ << ");\n";
}

void Printer::function(const Function &function) {
  os_ << "    func " << function.name << '<' << name(function.opset) << ">(";
  typed(function.inputs());
  os_ << ')';
  Attributes stated = function.attributes;
  if (auto shapes = flexibleShapes(function))
    stated.emplace_back(flexibleShapesAttribute.str(), std::move(*shapes));
  if (!options_.symbols)
    if (auto names = sizeNames(function))
      stated.emplace_back(sizeNamesAttribute.str(), std::move(*names));
  if (!stated.empty()) {
    os_ << " [";
    attributes(stated);
    os_ << ']';
  }
  os_ << ' ';
  block(function.body(), 4);
}

void Printer::program(const Program &program) {
  os_ << "program(1.3)\n";
  llvm::ArrayRef<Attributes::value_type> stated = program.attributes;
  if (options_.programAttributes)
    stated = *options_.programAttributes;
  if (!stated.empty()) {
    os_ << '[';
    attributes(stated);
    os_ << "]\n";
  }
  os_ << "{\n";
  for (const auto &f : program.functions())
    function(*f);
  os_ << "}\n";
}

} // namespace

void print(const Program &program, llvm::raw_ostream &os, const PrintOptions &options) {
  Printer(os, options).program(program);
}

void print(const Function &function, llvm::raw_ostream &os, const PrintOptions &options) {
  Printer(os, options).function(function);
}

void print(const Op &op, llvm::raw_ostream &os, const PrintOptions &options) {
  Printer(os, options).statement(op, 0);
}

std::string toString(const Program &program, const PrintOptions &options) {
  std::string text;
  llvm::raw_string_ostream os(text);
  print(program, os, options);
  return text;
}

std::string toString(const Op &op) {
  std::string text;
  llvm::raw_string_ostream os(text);
  PrintOptions options;
  options.digests = false;
  print(op, os, options);
  return llvm::StringRef(text).rtrim('\n').str();
}

} // namespace plait::mil
