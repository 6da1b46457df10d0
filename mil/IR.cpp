// Use lists, ownership and names of the intermediate representation.
#include "mil/IR.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include <cassert>

namespace plait::mil {

// ---- Operand -----------------------------------------------------------------------------------

void Operand::link(Value *value) {
  value_ = value;
  if (!value)
    return;
  next_ = value->uses_;
  if (next_)
    next_->previous_ = &next_;
  value->uses_ = this;
  previous_ = &value->uses_;
}

void Operand::unlink() {
  if (!previous_)
    return;
  *previous_ = next_;
  if (next_)
    next_->previous_ = previous_;
  previous_ = nullptr;
  next_ = nullptr;
  value_ = nullptr;
}

// A move takes over the place in the use list, so that the order of uses does not depend on
// reallocation.
Operand::Operand(Operand &&other) noexcept
    : owner_(other.owner_), value_(other.value_), next_(other.next_), previous_(other.previous_) {
  if (previous_)
    *previous_ = this;
  if (next_)
    next_->previous_ = &next_;
  other.previous_ = nullptr;
  other.next_ = nullptr;
  other.value_ = nullptr;
}

Operand &Operand::operator=(Operand &&other) noexcept {
  if (this != &other) {
    this->~Operand();
    new (this) Operand(std::move(other));
  }
  return *this;
}

// ---- Value -------------------------------------------------------------------------------------

Value::~Value() { assert(!uses_ && "a value dies while it is used"); }

Block *Value::block() const { return def_ ? def_->parent() : owner_; }

llvm::SmallVector<Op *, 4> Value::users() const {
  llvm::SmallVector<Op *, 4> ops;
  for (Operand &use : uses())
    if (!llvm::is_contained(ops, use.owner()))
      ops.push_back(use.owner());
  std::reverse(ops.begin(), ops.end());
  return ops;
}

void Value::replaceAllUsesWith(Value *other) {
  assert(other != this);
  while (uses_)
    uses_->set(other);
}

bool Value::isOutput() const {
  for (Operand &use : uses())
    if (use.owner()->isTerminator())
      return true;
  return false;
}

// ---- Op ----------------------------------------------------------------------------------------

Op::Op(OpKind kind) : kind_(kind) {
  if (unsigned params = numParams())
    segments_ = std::make_unique<uint32_t[]>(params);
}

Opset Op::opset() const {
  const Function *in = function();
  return in ? in->opset : allOpsets().back().opset;
}

/// The terminator's operands are bound to one parameter.
unsigned Op::numParams() const { return isTerminator() ? 1 : info().params.size(); }

Op::~Op() {
  operands_.clear();
  // Nested blocks may use this operation's operands' values but never its results.
  blocks_.clear();
}

Value *Op::operator[](unsigned param) const {
  llvm::ArrayRef<Operand> bound = operands(param);
  return bound.empty() ? nullptr : bound.front().get();
}

llvm::ArrayRef<Operand> Op::operands(unsigned param) const {
  assert(param < numParams());
  unsigned begin = param ? segments_[param - 1] : 0;
  return llvm::ArrayRef<Operand>(operands_).slice(begin, segments_[param] - begin);
}

void Op::set(unsigned param, Value *value) {
  set(param, value ? llvm::ArrayRef<Value *>(value) : llvm::ArrayRef<Value *>());
}

void Op::set(unsigned param, llvm::ArrayRef<Value *> values) {
  assert(param < numParams());
  unsigned begin = param ? segments_[param - 1] : 0;
  unsigned oldCount = segments_[param] - begin;
  if (oldCount == values.size()) {
    for (auto [i, value] : llvm::enumerate(values))
      operands_[begin + i].set(value);
    return;
  }
  llvm::SmallVector<Operand, 0> rebuilt;
  rebuilt.reserve(operands_.size() - oldCount + values.size());
  for (unsigned i = 0; i < begin; ++i)
    rebuilt.push_back(std::move(operands_[i]));
  for (Value *value : values)
    rebuilt.emplace_back(this, value);
  for (unsigned i = begin + oldCount; i < operands_.size(); ++i)
    rebuilt.push_back(std::move(operands_[i]));
  operands_ = std::move(rebuilt);
  for (unsigned i = param; i < numParams(); ++i)
    segments_[i] += values.size() - oldCount;
}

Value *Op::addResult(Type type, Name name) {
  auto value = std::make_unique<Value>(std::move(type), std::move(name));
  value->def_ = this;
  value->index_ = results_.size();
  results_.push_back(std::move(value));
  return results_.back().get();
}

Block *Op::addBlock() {
  assert(parent_ && "an operation gets its blocks once it is in a function");
  blocks_.push_back(std::make_unique<Block>(function(), this));
  return blocks_.back().get();
}

Function *Op::function() const { return parent_ ? parent_->function() : nullptr; }

void Op::moveBefore(Op *other) {
  std::unique_ptr<Op> self = parent_->remove(this);
  other->parent_->insert(other->getIterator(), std::move(self));
}

void Op::erase() {
  assert(isUnused());
  parent_->remove(this);
}

bool Op::isUnused() const {
  return llvm::none_of(results_, [](const auto &result) { return result->hasUses(); });
}

// ---- Block -------------------------------------------------------------------------------------

Block::Block(Function *function, Op *parentOp)
    : function_(function), parentOp_(parentOp),
      terminator_(std::make_unique<Op>(OpKind::block_return)) {
  terminator_->parent_ = this;
}

Block::~Block() {
  // All uses go first: in a program that is not well-formed they may come before definitions.
  auto drop = [](auto &self, Block &block) -> void {
    block.terminator_->operands_.clear();
    for (Op &op : block.ops_) {
      op.operands_.clear();
      for (const auto &inner : op.blocks_)
        self(self, *inner);
    }
  };
  // A nested block may have been cleared with the outer one.
  drop(drop, *this);
  while (!ops_.empty())
    remove(&ops_.back());
}

Value *Block::addArg(Type type, Name name) {
  auto value = std::make_unique<Value>(std::move(type), std::move(name));
  value->owner_ = this;
  value->index_ = args_.size();
  args_.push_back(std::move(value));
  return args_.back().get();
}

void Block::eraseArg(unsigned index) {
  args_.erase(args_.begin() + index);
  for (unsigned i = index; i < args_.size(); ++i)
    args_[i]->index_ = i;
}

Op *Block::insert(iterator position, std::unique_ptr<Op> op) {
  assert(!op->parent_);
  op->parent_ = this;
  ops_.insert(position, *op);
  return op.release();
}

std::unique_ptr<Op> Block::remove(Op *op) {
  assert(op->parent_ == this && !op->isTerminator());
  ops_.remove(*op);
  op->parent_ = nullptr;
  return std::unique_ptr<Op>(op);
}

void Block::setOutputs(llvm::ArrayRef<Value *> values) { terminator_->set(0, values); }

void walk(Block &block, llvm::function_ref<void(Op &)> callback) {
  for (auto it = block.begin(); it != block.end();) {
    Op &op = *it++;
    // Blocks are remembered first: the callback may erase the operation, but only one that has
    // none.
    llvm::SmallVector<Block *, 2> nested;
    for (const auto &inner : op.blocks())
      nested.push_back(inner.get());
    callback(op);
    for (Block *inner : nested)
      walk(*inner, callback);
  }
}

uint8_t traitsOf(const Op &op) {
  uint8_t traits = op.info().traits;
  for (const auto &block : op.blocks())
    for (const Op &inner : *block)
      traits |= traitsOf(inner) & (Effect | ReadsMemory | NonDeterministic);
  return traits;
}

// ---- Function and Program ----------------------------------------------------------------------

Function::Function(Program *program, std::string name, Opset opset)
    : name(std::move(name)), opset(opset), program_(program), body_(this, nullptr) {}

Value *Function::addInput(Type type, llvm::StringRef name) {
  reserveName(name);
  return body_.addArg(std::move(type), name);
}

const InputInfo &Function::infoOfInput(size_t index) const {
  static const InputInfo nothing;
  return index < inputInfo.size() ? inputInfo[index] : nothing;
}

const OutputInfo &Function::infoOfOutput(size_t index) const {
  static const OutputInfo nothing;
  return index < outputInfo.size() ? outputInfo[index] : nothing;
}

Name Function::uniqueName(llvm::StringRef hint) {
  Name base = legalName(hint);
  auto [it, fresh] = names_.try_emplace(base, 0);
  if (fresh)
    return base;
  while (true) {
    Name candidate = base + "_" + std::to_string(it->second++);
    if (names_.try_emplace(candidate, 0).second)
      return candidate;
    it = names_.find(base);
  }
}

Function *Program::addFunction(llvm::StringRef name, Opset opset) {
  functions_.push_back(std::make_unique<Function>(this, name.str(), opset));
  return functions_.back().get();
}

Function *Program::function(llvm::StringRef name) const {
  for (const auto &function : functions_)
    if (function->name == name)
      return function.get();
  return nullptr;
}

void Program::eraseFunction(Function *function) {
  llvm::erase_if(functions_, [&](const auto &f) { return f.get() == function; });
}

Function *Program::adopt(Program &from, Function *function) {
  auto it = llvm::find_if(from.functions_, [&](const auto &f) { return f.get() == function; });
  assert(it != from.functions_.end());
  functions_.push_back(std::move(*it));
  from.functions_.erase(it);
  function->program_ = this;
  return function;
}

// ---- Names -------------------------------------------------------------------------------------

static bool isReserved(llvm::StringRef text) {
  return llvm::StringSwitch<bool>(text)
      .Cases("any", "program", "func", "tensor", "list", "dict", "tuple", "true", "false", true)
      .Cases("string", "bool", "bf16", "fp16", "fp32", "fp64", "state", "block", "return", true)
      .Cases("int4", "int8", "int16", "int32", "int64", true)
      .Cases("uint1", "uint2", "uint3", "uint4", "uint6", "uint8", "uint16", "uint32", "uint64",
             true)
      .Cases("const", "int", "uint", "half", "float", true)
      .Default(false);
}

bool isLegalName(llvm::StringRef text) {
  if (text.empty() || llvm::isDigit(text[0]) || isReserved(text))
    return false;
  return llvm::all_of(text, [](char c) { return llvm::isAlnum(c) || c == '_'; });
}

std::string legalName(llvm::StringRef text) {
  std::string legal;
  for (char c : text)
    legal += llvm::isAlnum(c) || c == '_' ? c : '_';
  if (legal.empty() || llvm::isDigit(legal[0]))
    legal.insert(legal.begin(), '_');
  if (isReserved(legal))
    legal += '_';
  return legal;
}

std::string whyIllegal(llvm::StringRef text) {
  if (text.empty())
    return "it is empty";
  return fmt::format("{0} (try '{1}')",
                     isReserved(text)         ? "it is a word of MIL's grammar"
                     : llvm::isDigit(text[0]) ? "it begins with a digit"
                                              : "letters, digits and _ make a name",
                     legalName(text));
}

// ---- Constants ---------------------------------------------------------------------------------

const Attr *constAttr(const Value *value) {
  return value && value->def() && value->def()->is(OpKind::const_) ? &value->def()->val() : nullptr;
}

const TensorData *constTensor(const Value *value) {
  const Attr *attr = constAttr(value);
  return attr ? attr->tensor() : nullptr;
}

std::optional<llvm::SmallVector<int64_t, 8>> constInts(const Value *value) {
  const TensorData *tensor = constTensor(value);
  // Longer ones are data, not parameters.
  if (!tensor || isFloat(tensor->dtype()) || tensor->numElements() > (1 << 20))
    return std::nullopt;
  auto values = tensor->intValues();
  if (!values) {
    llvm::consumeError(values.takeError());
    return std::nullopt;
  }
  return std::move(*values);
}

std::optional<int64_t> constInt(const Value *value) {
  auto values = constInts(value);
  return values && values->size() == 1 ? std::optional((*values)[0]) : std::nullopt;
}

std::optional<double> constFloat(const Value *value) {
  const TensorData *tensor = constTensor(value);
  if (!tensor || tensor->numElements() != 1)
    return std::nullopt;
  auto values = tensor->floatValues();
  if (!values) {
    llvm::consumeError(values.takeError());
    return std::nullopt;
  }
  return (*values)[0];
}

std::optional<bool> constBool(const Value *value) {
  const TensorData *tensor = constTensor(value);
  if (!tensor || tensor->dtype() != DType::Bool)
    return std::nullopt;
  auto number = constInt(value);
  return number ? std::optional(*number != 0) : std::nullopt;
}

std::optional<llvm::StringRef> constString(const Value *value) {
  const Attr *attr = constAttr(value);
  const std::string *text = attr ? attr->string() : nullptr;
  return text ? std::optional<llvm::StringRef>(*text) : std::nullopt;
}

bool writesInline(const Op &op, unsigned param) {
  return !op.isTerminator() &&
         ((op.info().traits & Constexpr) || (op.info().params[param].flags & Inline));
}

bool isInlineOnly(const Op &constant) {
  if (!constant.is(OpKind::const_)) // others may have no result
    return false;
  const Value &value = *constant.result();
  if (!value.hasUses())
    return false;
  for (const Operand &use : value.uses()) {
    const Op &op = *use.owner();
    if (op.isTerminator())
      return false;
    bool inlined = false;
    for (unsigned param = 0; param < op.numParams() && !inlined; ++param) {
      auto bound = op.operands(param);
      inlined = bound.begin() <= &use && &use < bound.end() && writesInline(op, param);
    }
    if (!inlined)
      return false;
  }
  return true;
}

bool keepsOperandsInAttributes(const Op &op) {
  const OpInfo &row = op.info();
  return (row.traits & Constexpr) &&
         (!info(row.newest).constexprOperands || !info(op.opset()).constexprOperands);
}

bool isCompileTime(const Value *value) {
  return value && value->def() &&
         (value->def()->is(OpKind::const_) || (value->def()->info().traits & Constexpr));
}

} // namespace plait::mil
