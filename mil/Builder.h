// Makes operations: binds arguments by parameter, turns literals into constants, fills in the
// defaults that coremltools writes, and infers result types. Errors are sticky: the builder keeps
// the first one, and a poison value flows on.
#pragma once

#include "mil/IR.h"
#include "support/Failure.h"

#include <variant>

namespace plait::mil {

/// What is bound to a parameter: values, or a literal that becomes a `const` of the element type
/// that the parameter asks for (that of its type variable where another operand binds it).
struct Arg {
  using Literal = std::variant<std::monostate, int64_t, double, bool, std::string, Attr>;

  Arg(unsigned param, Value *value) : param(param), values({value}) {}
  Arg(unsigned param, llvm::ArrayRef<Value *> values)
      : param(param), values(values.begin(), values.end()) {}
  Arg(unsigned param, int value) : param(param), literal(int64_t(value)) {}
  Arg(unsigned param, int64_t value) : param(param), literal(value) {}
  Arg(unsigned param, double value) : param(param), literal(value) {}
  Arg(unsigned param, bool value) : param(param), literal(value) {}
  Arg(unsigned param, const char *value) : param(param), literal(std::string(value)) {}
  Arg(unsigned param, llvm::StringRef value) : param(param), literal(value.str()) {}
  Arg(unsigned param, llvm::ArrayRef<int64_t> value)
      : param(param), literal(Attr(TensorData::ints(value))) {}
  Arg(unsigned param, std::initializer_list<int64_t> value)
      : Arg(param, llvm::ArrayRef<int64_t>(value)) {}
  Arg(unsigned param, llvm::ArrayRef<bool> value)
      : param(param), literal(Attr(TensorData::bools(value))) {}
  Arg(unsigned param, Attr value) : param(param), literal(std::move(value)) {}

  unsigned param;
  llvm::SmallVector<Value *, 1> values; ///< null values: the parameter is absent
  Literal literal;
};

class Builder {
public:
  /// Inserts at the end of the block.
  explicit Builder(Block &block) : Builder(block, block.end()) {}
  Builder(Block &block, Block::iterator position) : block_(&block), position_(position) {}
  /// Inserts before an operation and takes over its location.
  static Builder before(Op *op);

  void setInsertionPoint(Block &block, Block::iterator position) {
    block_ = &block;
    position_ = position;
  }
  void setInsertionPointToEnd(Block &block) { setInsertionPoint(block, block.end()); }
  Block &block() const { return *block_; }
  Block::iterator position() const { return position_; }
  Function &function() const { return *block_->function(); }
  /// Recorded on every operation made from now on.
  void setLocation(Location location) { location_ = std::move(location); }
  const Location &location() const { return location_; }

  /// The operation, or null after an error. `hint` names it and its results; otherwise they are
  /// called after the location's module and the operation's kind (`encoder_layer_0_linear`).
  Op *create(OpKind kind, llvm::ArrayRef<Arg> args, llvm::StringRef hint = "");
  /// The single result of create(), or poison.
  Value *emit(OpKind kind, llvm::ArrayRef<Arg> args, llvm::StringRef hint = "");

  /// A `cond` or `while_loop` with empty blocks, to be filled through builders of their own; the
  /// blocks of a loop have one argument a loop variable, of its type. Results come with
  /// closeControlFlow(). Null after an error.
  Op *openControlFlow(OpKind kind, llvm::ArrayRef<Arg> args, llvm::StringRef hint = "");
  /// Infers the results once both blocks have their outputs. On an error the operation is erased.
  bool closeControlFlow(Op *op);

  /// Gives an operation of the block the parameters that it lacks and has a default for. They are
  /// made at the insertion point, which must be before it.
  void fillDefaults(Op &op);

  Value *constant(Attr value, llvm::StringRef hint = "");
  Value *constant(TensorData value, llvm::StringRef hint = "") {
    return constant(Attr(std::move(value)), hint);
  }
  /// A scalar or splat of a float or integer type.
  Value *scalar(DType dtype, double value, llvm::StringRef hint = "");
  Value *ints(llvm::ArrayRef<int64_t> values, llvm::StringRef hint = "") {
    return constant(TensorData::ints(values), hint);
  }

  /// Records an error; only the first is kept.
  void fail(Error error);
  bool failed() const { return bool(error_); }
  /// The error recorded, if any; the builder is good again afterwards.
  Error takeError();
  /// A value of invalid type that any operation accepts and passes on without being created.
  Value *poison();
  static bool isPoison(const Value *value) { return value && !value->type.isValid(); }

private:
  std::string nameFor(llvm::StringRef kind, llvm::StringRef hint) const;
  Op *insert(OpKind kind, llvm::ArrayRef<Arg> args, llvm::StringRef hint);
  bool addResults(Op *op);
  bool bindLiteral(Op &op, const Arg &arg);
  DType dtypeFor(const Op &op, unsigned param, DType preferred) const;

  Block *block_;
  Block::iterator position_;
  Location location_;
  std::optional<Failure> error_;
  std::unique_ptr<Value> poison_;
};

} // namespace plait::mil
