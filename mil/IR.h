// The intermediate representation: Program, Function, Block, Op, Value.
//
//   Program   owns named functions
//   Function  has one Block, its body
//   Block     has arguments, operations in order, and outputs, the operands of its implicit
//             terminator
//   Op        an operation; one of control flow owns nested blocks, which see the values around it
//   Value     a result of an operation, or an argument of a block; it knows its uses
//
// Every literal is the result of a `const` operation.
//
// Nothing here may be written by two threads at a time, except that distinct threads may change
// distinct functions of one program.
#pragma once

#include "mil/Attr.h"
#include "mil/Location.h"
#include "mil/Name.h"
#include "mil/OpInfo.h"
#include "mil/Pixels.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/ilist.h"
#include "llvm/ADT/ilist_node.h"
#include "llvm/ADT/iterator_range.h"

#include <map>
#include <memory>

namespace plait::mil {

class Block;
class Function;
class Op;
class Program;
class Value;

/// One use of a value: an operand of an operation. Links itself into the value's list of uses.
class Operand {
public:
  Operand(Op *owner, Value *value) : owner_(owner) { link(value); }
  Operand(Operand &&other) noexcept;
  Operand &operator=(Operand &&other) noexcept;
  ~Operand() { unlink(); }

  Value *get() const { return value_; }
  operator Value *() const { return value_; }
  Value *operator->() const { return value_; }
  void set(Value *value) {
    unlink();
    link(value);
  }
  Op *owner() const { return owner_; }
  Operand *nextUse() const { return next_; }

private:
  void link(Value *value);
  void unlink();

  Op *owner_;
  Value *value_ = nullptr;
  Operand *next_ = nullptr;
  Operand **previous_ = nullptr; // what points at this: the value's head or another operand's next_
};

/// A result of an operation or an argument of a block. Its name is unique within the function.
class Value {
public:
  Value(Type type, Name name) : type(std::move(type)), name(std::move(name)) {}
  Value(const Value &) = delete;
  ~Value();

  Type type;
  Name name;

  /// The operation that computes it; null for a block argument.
  Op *def() const { return def_; }
  /// Which result of def(), or which argument of its block.
  unsigned index() const { return index_; }
  /// The block it is defined in.
  Block *block() const;

  bool hasUses() const { return uses_ != nullptr; }
  bool hasOneUse() const { return uses_ && !uses_->nextUse(); }
  /// Most recent first; terminators that return the value are among the owners.
  class UseIterator {
  public:
    explicit UseIterator(Operand *use) : use_(use) {}
    Operand &operator*() const { return *use_; }
    UseIterator &operator++() {
      use_ = use_->nextUse();
      return *this;
    }
    bool operator!=(const UseIterator &other) const { return use_ != other.use_; }

  private:
    Operand *use_;
  };
  llvm::iterator_range<UseIterator> uses() const {
    return {UseIterator(uses_), UseIterator(nullptr)};
  }
  /// The distinct operations that use it, in program order where they share a block.
  llvm::SmallVector<Op *, 4> users() const;
  void replaceAllUsesWith(Value *other);
  /// A block output: some terminator returns it.
  bool isOutput() const;

private:
  friend class Operand;
  friend class Op;
  friend class Block;
  Op *def_ = nullptr;
  Block *owner_ = nullptr;
  unsigned index_ = 0;
  Operand *uses_ = nullptr;
};

/// An operation: a row of Ops.def applied to operands, grouped by parameter.
class Op : public llvm::ilist_node<Op> {
public:
  explicit Op(OpKind kind);
  ~Op();

  OpKind kind() const { return kind_; }
  const OpInfo &info() const { return mil::info(kind_); }
  bool is(OpKind kind) const { return kind_ == kind; }

  /// The `name` attribute: unique within the function, a name space of its own.
  Name name;
  /// Where it comes from; empty where nobody knows.
  Location location;
  /// Attributes other than `name` and `val`.
  llvm::SmallVector<std::pair<std::string, Attr>, 0> attributes;

  /// The single value bound to a parameter, or null when absent. `op[linear::weight]`.
  Value *operator[](unsigned param) const;
  /// All values bound to a parameter.
  llvm::ArrayRef<Operand> operands(unsigned param) const;
  /// All operands, in the order of parameters. Of a terminator: the block's outputs.
  llvm::ArrayRef<Operand> operands() const { return operands_; }
  llvm::MutableArrayRef<Operand> operands() { return operands_; }
  unsigned numParams() const;
  /// That of the function it is in; the newest while detached.
  Opset opset() const;
  /// What the parameter is in the operation's opset; null where that does not have it.
  const ParamInfo *paramInfo(unsigned param) const { return info().form(opset())[param]; }
  /// Binds a parameter to one value (null: to none) or to several.
  void set(unsigned param, Value *value);
  void set(unsigned param, llvm::ArrayRef<Value *> values);

  unsigned numResults() const { return results_.size(); }
  Value *result(unsigned index = 0) const { return results_[index].get(); }
  llvm::ArrayRef<std::unique_ptr<Value>> results() const { return results_; }
  Value *addResult(Type type, Name name);

  llvm::ArrayRef<std::unique_ptr<Block>> blocks() const { return blocks_; }
  Block *addBlock();

  /// Of a `const`: what it holds.
  const Attr &val() const { return *val_; }
  void setVal(Attr val) { val_ = std::make_unique<Attr>(std::move(val)); }

  Block *parent() const { return parent_; }
  /// The function it is in; null while detached.
  Function *function() const;
  void moveBefore(Op *other);
  /// Unlinks and deletes; no result may have uses.
  void erase();
  bool isTerminator() const { return kind_ == OpKind::block_return; }
  /// No result is used.
  bool isUnused() const;

private:
  friend class Block;
  OpKind kind_;
  Block *parent_ = nullptr;
  llvm::SmallVector<Operand, 0> operands_;
  std::unique_ptr<uint32_t[]> segments_; // end of each parameter's operands
  llvm::SmallVector<std::unique_ptr<Value>, 1> results_;
  llvm::SmallVector<std::unique_ptr<Block>, 0> blocks_;
  std::unique_ptr<Attr> val_;
};

/// A list of operations with arguments and outputs.
class Block {
public:
  Block(Function *function, Op *parentOp);
  Block(const Block &) = delete;
  ~Block();

  Function *function() const { return function_; }
  /// The control-flow operation it belongs to; null for a function's body.
  Op *parentOp() const { return parentOp_; }

  llvm::ArrayRef<std::unique_ptr<Value>> args() const { return args_; }
  Value *addArg(Type type, Name name);
  void eraseArg(unsigned index);

  using iterator = llvm::simple_ilist<Op>::iterator;
  /// Operations in order, without the terminator.
  iterator begin() const { return ops_.begin(); }
  iterator end() const { return ops_.end(); }
  bool empty() const { return ops_.empty(); }
  Op &front() const { return ops_.front(); }
  Op &back() const { return ops_.back(); }
  /// Takes ownership and inserts before `position`.
  Op *insert(iterator position, std::unique_ptr<Op> op);
  /// Unlinks without deleting.
  std::unique_ptr<Op> remove(Op *op);

  /// The outputs: uses like any other, held by the terminator.
  llvm::ArrayRef<Operand> outputs() const { return terminator_->operands(); }
  llvm::MutableArrayRef<Operand> outputs() { return terminator_->operands(); }
  void setOutputs(llvm::ArrayRef<Value *> values);
  Op *terminator() const { return terminator_.get(); }

private:
  Function *function_;
  Op *parentOp_;
  std::vector<std::unique_ptr<Value>> args_;
  mutable llvm::simple_ilist<Op> ops_;
  std::unique_ptr<Op> terminator_;
};

/// Calls `callback` for each operation of the block in order, nested blocks included (after their
/// operation). The callback may erase the operation it is given.
void walk(Block &block, llvm::function_ref<void(Op &)> callback);

/// The traits of the operation and of all in its nested blocks: what a pass may do with the whole.
uint8_t traitsOf(const Op &op);

/// What the interface says of one input beyond its type.
struct InputInfo {
  /// The shapes allowed where the user enumerated them; the first is the default.
  std::vector<llvm::SmallVector<int64_t, 5>> enumeratedShapes;
  /// The default shape of a flexible input; empty when the type is static.
  llvm::SmallVector<int64_t, 5> defaultShape;
  std::optional<PixelFormat> image; ///< nullopt: an array
  std::string description;          ///< a text for people
  /// The description of an input that came from a package and says more than the type and the above
  /// (a default value): a serialised FeatureDescription, written back as it is. Empty otherwise.
  std::string feature;
};

/// What the interface says of one output beyond its type.
struct OutputInfo {
  std::optional<PixelFormat> image;
  std::string description;
  std::string feature; ///< as InputInfo::feature
};

/// A named entry point. Inputs are the arguments of its body (states among them), outputs the
/// body's outputs; their names are the interface's.
class Function {
public:
  Function(Program *program, std::string name, Opset opset);

  std::string name;
  Opset opset;
  std::vector<InputInfo> inputInfo;   ///< parallel to inputs(); may be shorter
  std::vector<OutputInfo> outputInfo; ///< parallel to outputs(); may be shorter
  std::vector<std::pair<std::string, Attr>> attributes;
  /// What a package that was read says of the function beyond inputs, outputs and states: a
  /// serialised FunctionDescription, written back as it is.
  std::string otherDescription;

  Program *program() const { return program_; }
  Block &body() { return body_; }
  const Block &body() const { return body_; }
  llvm::ArrayRef<std::unique_ptr<Value>> inputs() const { return body_.args(); }
  llvm::ArrayRef<Operand> outputs() const { return body_.outputs(); }
  Value *addInput(Type type, llvm::StringRef name);
  /// What is said of an input or output; nothing where it has no entry.
  const InputInfo &infoOfInput(size_t index) const;
  const OutputInfo &infoOfOutput(size_t index) const;

  /// A name that no value or operation of the function has yet: `hint`, made a legal identifier, or
  /// hint_N.
  Name uniqueName(llvm::StringRef hint);
  /// Marks a name as taken.
  void reserveName(const Name &name) { names_.try_emplace(name, 0); }

private:
  friend class Program;
  Program *program_;
  llvm::DenseMap<Name, unsigned> names_; // name -> next suffix to try
  Block body_;
};

/// What the model description says of the whole package.
struct Metadata {
  std::string author, license, version, description;
  std::map<std::string, std::string> userDefined;
  /// What a package that was read says beyond these and its functions, fields that are not known
  /// here included: serialised Model and ModelDescription messages, written back as they are.
  std::string otherModel = {}, otherDescription = {};
};

/// One model: functions in the order they were added.
class Program {
public:
  Program() = default;
  Program(const Program &) = delete;

  Function *addFunction(llvm::StringRef name, Opset opset = kDefaultOpset);
  /// Null when there is none.
  Function *function(llvm::StringRef name) const;
  llvm::ArrayRef<std::unique_ptr<Function>> functions() const { return functions_; }
  void eraseFunction(Function *function);
  /// Moves a function of another program here, behind those there are.
  Function *adopt(Program &from, Function *function);

  /// The name that a multifunction package gives as its default; empty for a plain one-function
  /// package.
  std::string defaultFunction;
  Metadata metadata;
  std::string docString; ///< of a package that was read; written back
  std::vector<std::pair<std::string, Attr>> attributes;

private:
  std::vector<std::unique_ptr<Function>> functions_;
};

/// `text` made an identifier [A-Za-z_][A-Za-z0-9_]* that is no word of MIL's grammar.
std::string legalName(llvm::StringRef text);
bool isLegalName(llvm::StringRef text);
/// What is wrong with a name that is not legal, and one like it that is.
std::string whyIllegal(llvm::StringRef text);

// What a value holds where it is the result of a `const`; null or nullopt otherwise, for null
// values too.
const Attr *constAttr(const Value *value);
const TensorData *constTensor(const Value *value);
std::optional<int64_t> constInt(const Value *value);
std::optional<llvm::SmallVector<int64_t, 8>> constInts(const Value *value);
std::optional<double> constFloat(const Value *value);
std::optional<bool> constBool(const Value *value);
std::optional<llvm::StringRef> constString(const Value *value);
/// Operands of `param` that are constants are written as literals inside `op`, in text and in
/// packages: those of constexpr_* operations and of parameters that the table marks Inline.
bool writesInline(const Op &op, unsigned param);
/// All uses of the constant are written inline, so that it needs no statement of its own.
bool isInlineOnly(const Op &constant);
/// constexpr_* operations that older opsets have in the same form keep their literals in
/// attributes, not in operands; in those opsets all do.
bool keepsOperandsInAttributes(const Op &op);
/// The result of a const or of a constexpr_* operation: what may be bound to a Const parameter.
bool isCompileTime(const Value *value);

} // namespace plait::mil
