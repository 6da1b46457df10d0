// Recursive descent over MIL text, of bounded depth: programs, functions, blocks and statements.
// LiteralParser.cpp has types and literals.
#include "mil/Parser.h"

#include "mil/FlexibleShapes.h"
#include "mil/Infer.h"
#include "mil/LiteralParser.h"
#include "mil/SizeNames.h"

namespace plait::mil {

namespace {

class Parser : LiteralParser {
public:
  Parser(llvm::StringRef text, const ParseOptions &options)
      : LiteralParser(text, options), program_(std::make_unique<Program>()) {}
  Expected<std::unique_ptr<Program>> run() {
    if (parseProgram() && !error_)
      return std::move(program_);
    return makeError(Code::ProgramText, "{0}", *error_);
  }

private:
  // ---- grammar ----
  bool parseProgram();
  bool parseFunction();
  bool parseParams(llvm::function_ref<bool(Type, llvm::StringRef)> param);
  bool parseBody(Block &block, unsigned depth);
  bool parseStatement(Block &block, unsigned depth);
  bool parseBlocks(Op &op, unsigned depth);
  bool parseOperand(Op &op, unsigned param, llvm::SmallVectorImpl<Value *> &values, unsigned depth);

  // ---- names ----
  bool define(Value *value, llvm::StringRef where);
  Value *lookup(llvm::StringRef name);
  Value *literalConst(Block &block, Op &op, unsigned param, Attr attr);
  void finishOp(Op &op, llvm::ArrayRef<Type> stated);

  std::unique_ptr<Program> program_;
  Function *function_ = nullptr;
  llvm::StringMap<Value *> values_;
  /// Names of the open blocks, in the order of their definition.
  std::vector<std::string> scope_;
  /// Names of operations that the text states.
  llvm::StringSet<> opNames_;
  /// Operations without a name, with the one they ask for: named once all names of the function are
  /// known. An operation asks for its result's name, a literal operand for its parameter's.
  std::vector<std::pair<Op *, std::string>> anonymous_;
};

// ---- names ----

bool Parser::define(Value *value, llvm::StringRef where) {
  if (!values_.try_emplace(value->name, value).second)
    return fail(where, "'" + value->name + "' is defined already");
  function_->reserveName(value->name);
  scope_.push_back(value->name.str());
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
// ---- statements ----

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
    do
      if (!result())
        return false;
    while (accept(','));
    if (!expect('='))
      return false;
  }
  llvm::StringRef opName;
  if (!identifier(opName, "an operation"))
    return false;
  auto kind = parseOpKind(opName);
  if (!kind)
    return fail(opName, "'" + opName.str() + "' is no operation of MIL");
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
  Origin origin;
  for (auto &[key, attr] : attributes) {
    if (key == "name") {
      const std::string *text = attr.string();
      if (!text)
        return fail(attributesAt, "the name of an operation is a string");
      op->name = *text;
      function_->reserveName(op->name);
      opNames_.insert(op->name);
    } else if (key == "val" && op->is(OpKind::const_)) {
      op->setVal(std::move(attr));
      hasVal = true;
    } else if ((key == parameterAttribute || key == computedFromAttribute) &&
               op->is(OpKind::const_)) {
      const auto *paths = attr.strings();
      if (!paths || llvm::any_of(*paths, [](const auto &path) { return !isParameterPath(path); }))
        return fail(attributesAt, "'" + key + "' is one name of a parameter, or a list of them");
      origin = key == parameterAttribute ? Origin::parameter(*paths) : Origin::computed(*paths);
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
  if (const TensorData *tensor = origin ? op->val().tensor() : nullptr;
      tensor && tensor->kind() == TensorData::Kind::Strided)
    op->setVal(tensor->withOrigin(origin));
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
    return fail(opsetName, "'" + opsetName.str() + "' is no opset of " + opsetNames());
  if (program_->function(name))
    return fail(name, "the function '" + name.str() + "' is defined already");
  function_ = program_->addFunction(name, *opset);
  values_.clear();
  scope_.clear();
  anonymous_.clear();
  opNames_.clear();
  if (!parseParams([&](Type type, llvm::StringRef name) {
        return define(function_->addInput(std::move(type), name), name);
      }))
    return false;
  if (at('[') && !parseAttributes(function_->attributes))
    return false;
  // Attributes that the program has a place for move there.
  llvm::erase_if(function_->attributes, [&](const auto &attribute) {
    return attribute.first == flexibleShapesAttribute &&
           applyFlexibleShapes(*function_, attribute.second);
  });
  llvm::erase_if(function_->attributes, [&](const auto &attribute) {
    if (attribute.first != sizeNamesAttribute)
      return false;
    applySizeNames(*function_, attribute.second);
    return true;
  });
  if (!parseBody(function_->body(), 0))
    return false;
  for (auto &[op, hint] : anonymous_) {
    bool named = op->numResults() && !op->result()->name.empty();
    op->name = named && opNames_.insert(hint).second ? Name(hint) : function_->uniqueName(hint);
    if (!named && op->numResults())
      op->result()->name = op->name;
  }
  return true;
}

bool Parser::parseProgram() {
  if (!expectWord("program") || !expect('('))
    return false;
  if (!llvm::is_contained({"1", "1.0", "1.1", "1.2", "1.3"}, token_.text))
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
