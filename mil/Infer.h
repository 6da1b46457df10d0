// Shape functions: what a shape function sees, and how the result types of an operation are
// computed. One shape function serves the builder, the verifier, the parser and the interpreter.
#pragma once

#include "mil/IR.h"

namespace plait::mil {

/// What is known of the elements of an int32 vector or scalar: constants, and what `shape`, gather,
/// slices, concat and integer arithmetic make of dimensions. nullopt when nothing is.
std::optional<llvm::SmallVector<Dim, 8>> dimValues(const Value *value);

/// An operation under inference. Operands are read by parameter; constants among them by value.
class InferContext {
public:
  explicit InferContext(const Op &op) : op_(op) {}

  const Op &op() const { return op_; }
  bool has(unsigned param) const { return op_[param] != nullptr; }
  const Type &type(unsigned param) const { return op_[param]->type; }
  llvm::ArrayRef<Dim> shape(unsigned param) const { return type(param).shape(); }
  unsigned rank(unsigned param) const { return shape(param).size(); }
  DType dtype(unsigned param) const { return type(param).dtype(); }

  /// The constant bound to `param`; nullopt when absent or not a constant.
  std::optional<int64_t> constInt(unsigned param) const { return mil::constInt(op_[param]); }
  std::optional<llvm::SmallVector<int64_t, 8>> constInts(unsigned param) const {
    return mil::constInts(op_[param]);
  }
  std::optional<bool> constBool(unsigned param) const { return mil::constBool(op_[param]); }
  std::optional<llvm::StringRef> constString(unsigned param) const {
    return mil::constString(op_[param]);
  }
  /// The elements of an integer operand as far as they are known: constants, and arithmetic on
  /// shapes of other values. nullopt when nothing is known.
  std::optional<llvm::SmallVector<Dim, 8>> dims(unsigned param) const {
    return has(param) ? dimValues(op_[param]) : std::nullopt;
  }
  /// An axis constant brought into [0, rank); an error when out of range. `fallback` when absent.
  Expected<int64_t> axis(unsigned param, unsigned rank, int64_t fallback) const;

  /// An error that names the operation.
  template <typename... Args> Error fail(fmt::format_string<Args...> format, Args &&...args) const {
    return addContext(makeError(Code::OperandMismatch, format, std::forward<Args>(args)...),
                      op_.info().name);
  }

  /// Appends a result.
  Error result(Type type) {
    results_.push_back(std::move(type));
    return Error::success();
  }
  Error result(DType dtype, llvm::ArrayRef<Dim> shape) {
    return result(Type::tensor(dtype, shape));
  }
  llvm::ArrayRef<Type> results() const { return results_; }

private:
  const Op &op_;
  llvm::SmallVector<Type, 1> results_;
};

/// Checks the operation's operands against its row (required and const parameters, element types,
/// type variables), then computes its result types. Messages name the operation and the parameter.
Expected<llvm::SmallVector<Type, 1>> inferTypes(const Op &op);

/// The broadcast of two shapes, aligned at the right as NumPy does; dimensions that cannot be
/// proved compatible give an error only when both are constant.
Expected<Shape> broadcast(llvm::ArrayRef<Dim> a, llvm::ArrayRef<Dim> b);

} // namespace plait::mil
