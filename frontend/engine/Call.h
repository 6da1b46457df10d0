// What a lowering sees of one node: arguments by schema name with defaults filled in, a builder,
// and the ways to give results, to warn and to refuse.
//
//     // aten::softmax.int(Tensor self, int dim, ScalarType? dtype=None)
//     static void lowerSoftmax(Call &c) {
//       Tensor x = c.tensor("self");
//       if (auto dtype = c.optionalDType("dtype"))
//         x = c.cast(x, *dtype);
//       int64_t axis = c.axis("dim", x.rank());
//       c.result(c.emit(OpKind::softmax, {{softmax::x, x.value}, {softmax::axis, axis}}), x.dtype);
//     }
//
// Errors are sticky: after the first, accessors give harmless poison and the operation's results
// are poison; the engine checks once per operation. A lowering never sees aliasing or in-place
// forms: the engine lowers `relu_` as `relu` and stores the result through the view.
#pragma once

#include "frontend/engine/Site.h"
#include "frontend/engine/Val.h"
#include "mil/Builder.h"

#include <ATen/core/function_schema.h>

namespace plait::frontend {

class Engine;

/// Ends a lowering that asks for an argument which the operator does not have.
[[noreturn]] void refuseArgument(const c10::FunctionSchema &schema, llvm::StringRef name);

/// A tensor as a lowering reads it: a MIL value, and the element type that PyTorch gives it. MIL
/// knows fp32, int32 and bool only at this stage: half, bfloat16 and double are computed in fp32
/// (the precision pass decides later), every integer type in int32.
struct Tensor {
  mil::Value *value = nullptr;
  at::ScalarType dtype = at::kFloat;

  explicit operator bool() const { return value != nullptr; }
  Sizes shape() const { return value->type.shape(); }
  const Dim &size(unsigned axis) const { return shape()[axis]; }
  int64_t rank() const { return shape().size(); }
  mil::DType milType() const { return value->type.dtype(); }
  bool isFloat() const { return at::isFloatingType(dtype); }
  bool isBool() const { return dtype == at::kBool; }
  bool isInt() const { return at::isIntegralType(dtype, /*includeBool=*/false); }
};

/// The MIL element type that a PyTorch one is computed in: Bool, I32 or F32.
mil::DType milTypeOf(at::ScalarType dtype);

class Call {
public:
  /// `site` says which results are used; null: all.
  Call(Engine &engine, const c10::FunctionSchema &schema, std::vector<Val> arguments,
       const Site *site);

  /// The full name, "aten::softmax.int".
  const std::string &name() const { return name_; }
  const c10::FunctionSchema &schema() const { return *schema_; }
  Engine &engine() { return engine_; }
  mil::Builder &builder();

  // ---- arguments, by schema name ----
  bool has(llvm::StringRef name) const; ///< in the schema, and not None
  const Val &val(llvm::StringRef name);
  Tensor tensor(llvm::StringRef name);
  /// An empty Tensor where None.
  Tensor optionalTensor(llvm::StringRef name);
  llvm::SmallVector<Tensor, 4> tensors(llvm::StringRef name);
  /// An entry that is None (of `Tensor?[] indices`) is an empty Tensor.
  llvm::SmallVector<Tensor, 4> optionalTensors(llvm::StringRef name);
  /// The tensor if it is known while compiling, without materialising it in MIL; undefined
  /// otherwise.
  at::Tensor knownTensor(llvm::StringRef name);
  /// Shape and element type of a tensor argument without reading it.
  Sizes shapeOf(llvm::StringRef name);
  at::ScalarType dtypeOf(llvm::StringRef name);
  /// Known numbers: a run-time or symbolic one is refused with a message that names the argument.
  int64_t integer(llvm::StringRef name);
  std::optional<int64_t> optionalInteger(llvm::StringRef name);
  double number(llvm::StringRef name); ///< int, float or bool
  std::optional<double> optionalNumber(llvm::StringRef name);
  bool boolean(llvm::StringRef name);
  std::string string(llvm::StringRef name);
  llvm::SmallVector<int64_t, 6> integers(llvm::StringRef name);
  std::optional<llvm::SmallVector<int64_t, 6>> optionalIntegers(llvm::StringRef name);
  /// One integer may stand for `count` of them, as for kernel sizes and strides.
  llvm::SmallVector<int64_t, 6> integers(llvm::StringRef name, unsigned count);
  llvm::SmallVector<bool, 4> booleans(llvm::StringRef name);
  llvm::SmallVector<double, 4> numbers(llvm::StringRef name);
  /// Sizes, which may be symbolic.
  Dim dim(llvm::StringRef name);
  Shape dims(llvm::StringRef name);
  std::optional<at::ScalarType> optionalDType(llvm::StringRef name);
  /// A Scalar or 0-d value as a MIL scalar of the given element type, whether known, symbolic or
  /// run-time.
  mil::Value *scalar(llvm::StringRef name, mil::DType dtype);
  /// A dimension index brought into [0, rank).
  int64_t axis(llvm::StringRef name, int64_t rank);
  llvm::SmallVector<int64_t, 6> axes(llvm::StringRef name,
                                     int64_t rank); ///< all axes where None or empty

  // ---- helpers that many lowerings share ----
  mil::Value *emit(mil::OpKind kind, llvm::ArrayRef<mil::Arg> args, llvm::StringRef hint = "");
  mil::Op *create(mil::OpKind kind, llvm::ArrayRef<mil::Arg> args, llvm::StringRef hint = "");
  /// To the MIL type that computes `dtype`; float to int truncates, anything to bool is `!= 0`.
  Tensor cast(Tensor x, at::ScalarType dtype);
  mil::Value *castTo(mil::Value *x, mil::DType dtype);
  /// Reshapes, with symbolic sizes too.
  mil::Value *reshape(mil::Value *x, llvm::ArrayRef<Dim> shape);
  mil::Value *permute(mil::Value *x, llvm::ArrayRef<int64_t> perm);
  mil::Value *broadcastTo(mil::Value *x, llvm::ArrayRef<Dim> shape);
  /// A Dim as an int32 scalar, a shape as an int32 vector: a constant where they are.
  mil::Value *materialise(const Dim &dim);
  mil::Value *materialise(llvm::ArrayRef<Dim> shape);
  mil::Value *full(llvm::ArrayRef<Dim> shape, mil::DType dtype, double value);
  /// The element type that PyTorch computes in: at::result_type over the named arguments, where
  /// tensors, 0-d tensors and Scalars have different priorities.
  at::ScalarType promote(llvm::ArrayRef<llvm::StringRef> names);
  /// A tensor or Scalar argument as a MIL operand of element type `dtype`.
  Tensor operand(llvm::StringRef name, at::ScalarType dtype);

  // ---- results, in the order of the schema's returns ----
  void result(Tensor tensor);
  void result(mil::Value *value, at::ScalarType dtype) { result(Tensor{value, dtype}); }
  void result(Val val) { results_.push_back(std::move(val)); }
  /// A list of tensors as one result.
  void resultList(llvm::ArrayRef<Tensor> tensors);
  std::vector<Val> takeResults() { return std::move(results_); }
  /// Whether anything reads a result. One that nothing reads may be left out: give Val().
  bool isUsed(unsigned index) const { return !site_ || site_->isUsed(index); }

  /// Refuses the call and ends the lowering. The engine adds the place to the message.
  [[noreturn]] void refuse(Error error);
  template <typename... Args>
  [[noreturn]] void refuse(Code code, fmt::format_string<Args...> format, Args &&...args) {
    refuse(makeError(code, format, std::forward<Args>(args)...));
  }
  /// Whether the builder failed to make an operation that was asked of it directly.
  bool failed();
  void warn(Code code, const llvm::Twine &message);

private:
  std::optional<unsigned> find(llvm::StringRef name) const;
  /// Ends the lowering if the value could not be made: no lowering sees one without a type.
  mil::Value *made(mil::Value *value);

  Engine &engine_;
  const Site *site_;
  const c10::FunctionSchema *schema_;
  std::string name_;
  std::vector<Val> arguments_;
  std::vector<Val> results_;
};

} // namespace plait::frontend
