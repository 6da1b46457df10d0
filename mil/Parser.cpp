// Recursive descent over MIL text, of bounded depth.
#include "mil/Parser.h"

#include "mil/Infer.h"
#include "mil/Lexer.h"

#include <cmath>
#include <cstring>

namespace plait::mil {

namespace {

/// Nesting of blocks, of types and of literals.
constexpr unsigned kMaxDepth = 64;
constexpr size_t kMaxRank = 16;
constexpr int64_t kMaxDim = int64_t(1) << 40;

/// Every parse function returns false after an error, of which the first is kept.
class Parser {
public:
  Parser(llvm::StringRef text, const ParseOptions &options)
      : lexer_(text), options_(options), program_(std::make_unique<Program>()) {
    advance();
  }
  Expected<std::unique_ptr<Program>> run() {
    if (parseProgram() && !error_)
      return std::move(program_);
    return makeError("{0}", *error_);
  }

private:
  // ---- tokens ----
  void advance() {
    token_ = next_.kind == Token::End && next_.text.data() == nullptr ? lexer_.next() : next_;
    next_ = lexer_.next();
  }
  bool at(char c) const { return token_.is(c); }
  bool accept(char c) {
    if (!at(c))
      return false;
    advance();
    return true;
  }
  bool expect(char c) { return accept(c) || unexpected(std::string("'") + c + "'"); }
  bool expectArrow() {
    if (token_.text != "->")
      return unexpected("'->'");
    advance();
    return true;
  }
  bool expectWord(llvm::StringRef word) {
    if (!token_.is(word))
      return unexpected("'" + word.str() + "'");
    advance();
    return true;
  }
  bool identifier(llvm::StringRef &text, llvm::StringRef what) {
    if (token_.kind != Token::Identifier)
      return unexpected(what);
    text = token_.text;
    advance();
    return true;
  }
  bool unexpected(llvm::StringRef wanted);
  bool fail(llvm::StringRef where, const std::string &message);
  /// Elements separated by commas up to `close`, which is consumed.
  bool list(char close, llvm::function_ref<bool()> element) {
    if (accept(close))
      return true;
    do {
      if (!element())
        return false;
    } while (accept(','));
    return expect(close);
  }

  // ---- grammar ----
  bool parseProgram();
  bool parseFunction();
  bool parseParams(llvm::function_ref<bool(Type, llvm::StringRef)> param);
  bool parseBody(Block &block, unsigned depth);
  bool parseStatement(Block &block, unsigned depth);
  bool parseBlocks(Op &op, unsigned depth);
  bool parseOperand(Op &op, unsigned param, llvm::SmallVectorImpl<Value *> &values, unsigned depth);
  using Attributes = std::vector<std::pair<std::string, Attr>>;
  bool parseAttributes(Attributes &attributes);
  bool startsType() const;
  bool parseType(Type &type, unsigned depth = 0);
  bool parseDim(Dim &dim);
  bool parseLiteral(Attr &attr, unsigned depth = 0);
  bool parseContents(const Type &type, Attr &attr, unsigned depth);
  bool parseTensor(const Type &type, Attr &attr, unsigned depth);
  bool parseBlob(const Type &type, Attr &attr, unsigned depth);

  // ---- names ----
  bool define(Value *value, llvm::StringRef where);
  Value *lookup(llvm::StringRef name);
  Value *literalConst(Block &block, Op &op, unsigned param, Attr attr);
  void finishOp(Op &op, llvm::ArrayRef<Type> stated);

  Lexer lexer_;
  const ParseOptions &options_;
  Token token_, next_;
  std::optional<std::string> error_;
  std::unique_ptr<Program> program_;

  Function *function_ = nullptr;
  llvm::StringMap<Value *> values_;
  /// Names of the open blocks, in the order of their definition.
  std::vector<std::string> scope_;
  /// Constants made from literal operands, with the name they ask for: named once all names of the
  /// function are known.
  std::vector<std::pair<Op *, std::string>> anonymous_;
};

// ---- errors
// --------------------------------------------------------------------------------------

bool Parser::fail(llvm::StringRef where, const std::string &message) {
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
  error_ = llvm::formatv("{0}:{1}:{2}: {3}\n  {4}\n  {5}^", options_.fileName, line, column + 1,
                         message, shown, std::string(column - from, ' '))
               .str();
  return false;
}

bool Parser::unexpected(llvm::StringRef wanted) {
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

// ---- types
// ---------------------------------------------------------------------------------------

bool Parser::startsType() const {
  if (token_.kind != Token::Identifier)
    return false;
  return parseDType(token_.text) || token_.is("tensor") || token_.is("list") ||
         token_.is("tuple") || token_.is("dict") || token_.is("state");
}

bool Parser::parseDim(Dim &dim) {
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

bool Parser::parseType(Type &type, unsigned depth) {
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

// ---- literals
// ------------------------------------------------------------------------------------

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

bool Parser::parseTensor(const Type &type, Attr &attr, unsigned depth) {
  if (token_.is("BLOBFILE"))
    return parseBlob(type, attr, depth);
  Elements elements{type.dtype(), {}, {}, {}, {}};
  DType dtype = type.dtype();
  auto element = [&] {
    Token token = token_;
    auto bad = [&](const char *what) {
      return token.kind == Token::End || token.kind == Token::Bad
                 ? unexpected(what)
                 : fail(token.text,
                        llvm::formatv("'{0}' is no {1}", token.text.take_front(40), what));
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
                  llvm::formatv("{0} does not fit {1}", token.text.take_front(40), name(dtype)));
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
    return fail(where, llvm::formatv("{0} elements for a {1}", elements.size(), type.str()));
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

bool Parser::parseBlob(const Type &type, Attr &attr, unsigned depth) {
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
  attr = std::move(*data);
  return true;
}

bool Parser::parseContents(const Type &type, Attr &attr, unsigned depth) {
  if (depth > kMaxDepth)
    return fail(token_.text, "literals are nested too deeply");
  // Elements may state their types again.
  if (startsType() && (next_.is('<') || next_.is('(')))
    return parseLiteral(attr, depth + 1);
  switch (type.kind()) {
  case Type::Kind::Tensor:
    return parseTensor(type, attr, depth);
  case Type::Kind::List: {
    std::vector<Attr> values;
    llvm::StringRef where = token_.text;
    if (!expect('[') || !list(']', [&] {
          values.emplace_back();
          return parseContents(type.element(), values.back(), depth + 1);
        }))
      return false;
    if (type.length().isConst() && type.length().value() != int64_t(values.size()))
      return fail(where, llvm::formatv("{0} elements for a {1}", values.size(), type.str()));
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
      return fail(where, llvm::formatv("{0} elements for a {1}", values.size(), type.str()));
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

bool Parser::parseLiteral(Attr &attr, unsigned depth) {
  Type type;
  if (depth > kMaxDepth)
    return fail(token_.text, "literals are nested too deeply");
  return parseType(type, depth) && expect('(') && parseContents(type, attr, depth + 1) &&
         expect(')');
}

bool Parser::parseAttributes(Attributes &attributes) {
  return expect('[') && list(']', [&] {
           llvm::StringRef key;
           attributes.emplace_back();
           if (!identifier(key, "the name of an attribute") || !expect('='))
             return false;
           attributes.back().first = key.str();
           return parseLiteral(attributes.back().second);
         });
}

// ---- names
// ---------------------------------------------------------------------------------------

bool Parser::define(Value *value, llvm::StringRef where) {
  if (!values_.try_emplace(value->name, value).second)
    return fail(where, "'" + value->name + "' is defined already");
  function_->reserveName(value->name);
  scope_.push_back(value->name);
  return true;
}

Value *Parser::lookup(llvm::StringRef name) {
  auto it = values_.find(name);
  if (it != values_.end())
    return it->second;
  fail(name, "'" + name.str() + "' is not defined here");
  return nullptr;
}

Value *Parser::literalConst(Block &block, Op &op, unsigned param, Attr attr) {
  auto constant = std::make_unique<Op>(OpKind::const_);
  Type type = attr.type();
  constant->setVal(std::move(attr));
  Value *value = constant->addResult(std::move(type), "");
  Op *inserted = block.insert(op.getIterator(), std::move(constant));
  anonymous_.emplace_back(inserted, op.info().params[param].name);
  return value;
}

// ---- statements
// ----------------------------------------------------------------------------------

bool Parser::parseOperand(Op &op, unsigned param, llvm::SmallVectorImpl<Value *> &values,
                          unsigned depth) {
  if (depth > kMaxDepth)
    return fail(token_.text, "operands are nested too deeply");
  if (accept('('))
    return list(')', [&] { return parseOperand(op, param, values, depth + 1); });
  if (startsType()) {
    Attr attr;
    if (!parseLiteral(attr))
      return false;
    values.push_back(literalConst(*op.parent(), op, param, std::move(attr)));
    return true;
  }
  llvm::StringRef name;
  if (!identifier(name, "a value"))
    return false;
  Value *value = lookup(name);
  values.push_back(value);
  return value;
}

bool Parser::parseBlocks(Op &op, unsigned depth) {
  if (!accept('{'))
    return true;
  if (depth >= kMaxDepth)
    return fail(token_.text, "blocks are nested too deeply");
  while (!accept('}')) {
    llvm::StringRef label;
    if (!identifier(label, "a block or '}'"))
      return false;
    Block *block = op.addBlock();
    size_t outer = scope_.size();
    bool ok = parseParams([&](Type type, llvm::StringRef name) {
                return define(block->addArg(std::move(type), name.str()), name);
              }) &&
              parseBody(*block, depth + 1);
    // Names of the block end with it.
    for (size_t i = outer; i < scope_.size(); ++i)
      values_.erase(scope_[i]);
    scope_.resize(outer);
    if (!ok)
      return false;
  }
  return true;
}

void Parser::finishOp(Op &op, llvm::ArrayRef<Type> stated) {
  // What is wrong with the operation is for the verifier to say.
  auto inferred = inferTypes(op);
  if (!inferred) {
    llvm::consumeError(inferred.takeError());
    return;
  }
  if (inferred->size() != stated.size())
    return;
  for (auto [i, type] : llvm::enumerate(*inferred)) {
    if (type.isTensor() ? !compatible(type, stated[i]) : !(type.kind() == stated[i].kind()))
      continue;
    if (!type.isTensor()) {
      if (compatible(type, stated[i]))
        op.result(i)->type = type;
      continue;
    }
    Shape shape;
    for (auto [mine, given] : llvm::zip(type.shape(), stated[i].shape()))
      shape.push_back(given.isConst() ? given : mine);
    op.result(i)->type = type.withShape(shape);
  }
}

bool Parser::parseStatement(Block &block, unsigned depth) {
  llvm::SmallVector<std::pair<Type, llvm::StringRef>, 2> results;
  auto result = [&] {
    results.emplace_back();
    return parseType(results.back().first) && identifier(results.back().second, "a name");
  };
  if (accept('(')) {
    if (!list(')', result) || !expect('='))
      return false;
  } else if (!next_.is('(')) {
    if (!result() || !expect('='))
      return false;
  }
  llvm::StringRef opName;
  if (!identifier(opName, "an operation"))
    return false;
  auto kind = parseOpKind(opName);
  if (!kind)
    return fail(opName, "'" + opName.str() + "' is no operation of MIL's iOS18 opset");
  Op *op = block.insert(block.end(), std::make_unique<Op>(*kind));

  // Operands; each parameter once.
  llvm::SmallVector<bool, 16> bound(op->numParams());
  auto bind = [&](unsigned param, llvm::StringRef where, llvm::ArrayRef<Value *> values) {
    if (bound[param])
      return fail(where, "'" + where.str() + "' is given twice");
    bound[param] = true;
    op->set(param, values);
    return true;
  };
  if (!expect('(') || !list(')', [&] {
        llvm::StringRef name;
        if (!identifier(name, "the name of a parameter"))
          return false;
        auto param = op->info().findParam(name);
        if (!param)
          return fail(name, "'" + opName.str() + "' has no parameter '" + name.str() + "'");
        llvm::SmallVector<Value *, 4> values;
        return expect('=') && parseOperand(*op, *param, values, 0) && bind(*param, name, values);
      }))
    return false;

  Attributes attributes;
  llvm::StringRef attributesAt = token_.text;
  if (at('[') && !parseAttributes(attributes))
    return false;
  bool hasVal = false;
  for (auto &[key, attr] : attributes) {
    if (key == "name") {
      const std::string *text = attr.string();
      if (!text)
        return fail(attributesAt, "the name of an operation is a string");
      op->name = *text;
      function_->reserveName(op->name);
    } else if (key == "val" && op->is(OpKind::const_)) {
      op->setVal(std::move(attr));
      hasVal = true;
    } else if (auto param = op->info().findParam(key); param && (op->info().traits & Constexpr)) {
      Value *value = literalConst(block, *op, *param, std::move(attr));
      if (!bind(*param, attributesAt, value))
        return false;
    } else {
      op->attributes.emplace_back(std::move(key), std::move(attr));
    }
  }
  if (op->is(OpKind::const_) && !hasVal)
    return fail(opName, "a const needs the attribute val");
  if (!parseBlocks(*op, depth) || !expect(';'))
    return false;

  llvm::SmallVector<Type, 2> stated;
  for (auto &[type, name] : results) {
    stated.push_back(type);
    if (!define(op->addResult(type, name.str()), name))
      return false;
  }
  finishOp(*op, stated);
  if (op->name.empty())
    anonymous_.emplace_back(op, results.empty() ? opName.str() : results[0].second.str());
  return true;
}

bool Parser::parseBody(Block &block, unsigned depth) {
  if (!expect('{'))
    return false;
  while (!accept('}'))
    if (!parseStatement(block, depth))
      return false;
  llvm::SmallVector<Value *, 4> outputs;
  if (!expectArrow() || !expect('(') || !list(')', [&] {
        llvm::StringRef name;
        if (!identifier(name, "an output"))
          return false;
        outputs.push_back(lookup(name));
        return outputs.back() != nullptr;
      }))
    return false;
  block.setOutputs(outputs);
  return expect(';');
}

bool Parser::parseParams(llvm::function_ref<bool(Type, llvm::StringRef)> param) {
  return expect('(') && list(')', [&] {
           Type type;
           llvm::StringRef name;
           if (!parseType(type) || !identifier(name, "a name") || !param(type, name))
             return false;
           Attributes ignored; // of a parameter: none are known
           return !at('[') || parseAttributes(ignored);
         });
}

bool Parser::parseFunction() {
  llvm::StringRef name, opsetName;
  if (!expectWord("func") || !identifier(name, "the name of a function") || !expect('<') ||
      !identifier(opsetName, "an opset") || !expect('>'))
    return false;
  auto opset = parseOpset(opsetName);
  if (!opset)
    return fail(opsetName, "'" + opsetName.str() + "' is no opset of ios15, ios16, ios17, ios18");
  if (program_->function(name))
    return fail(name, "the function '" + name.str() + "' is defined already");
  function_ = program_->addFunction(name, *opset);
  values_.clear();
  scope_.clear();
  anonymous_.clear();
  if (!parseParams([&](Type type, llvm::StringRef name) {
        return define(function_->addInput(std::move(type), name), name);
      }))
    return false;
  if (at('[') && !parseAttributes(function_->attributes))
    return false;
  if (!parseBody(function_->body(), 0))
    return false;
  for (auto &[op, hint] : anonymous_) {
    op->name = function_->uniqueName(hint);
    if (op->is(OpKind::const_) && op->result()->name.empty())
      op->result()->name = op->name;
  }
  return true;
}

bool Parser::parseProgram() {
  if (!expectWord("program") || !expect('('))
    return false;
  if (token_.text != "1.0" && token_.text != "1.1" && token_.text != "1.2" && token_.text != "1.3")
    return unexpected("a program version of 1.0 to 1.3");
  advance();
  if (!expect(')') || (at('[') && !parseAttributes(program_->attributes)) || !expect('{'))
    return false;
  while (!accept('}'))
    if (!parseFunction())
      return false;
  return token_.kind == Token::End || unexpected("the end of the text");
}

} // namespace

Expected<std::unique_ptr<Program>> parseProgram(llvm::StringRef text, const ParseOptions &options) {
  return Parser(text, options).run();
}

} // namespace plait::mil
