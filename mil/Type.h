// Types of MIL values: tensors, lists, tuples, dictionaries and states.
#pragma once

#include "mil/DType.h"
#include "mil/Dim.h"

#include <vector>

namespace plait::mil {

using Shape = llvm::SmallVector<Dim, 5>;

/// A value type, three words long: shapes and nested types are immutable and shared by copies. A
/// default-constructed Type is invalid: the type of poison.
class Type {
public:
  enum class Kind : uint8_t { Invalid, Tensor, List, Tuple, Dict, State };

  Type() = default;
  static Type tensor(DType dtype, llvm::ArrayRef<Dim> shape = {});
  static Type tensor(DType dtype, llvm::ArrayRef<int64_t> shape);
  static Type tensor(DType dtype, std::initializer_list<int64_t> shape) {
    return tensor(dtype, llvm::ArrayRef<int64_t>(shape));
  }
  /// A list of `length` elements ("?" where unknown).
  static Type list(Type element, Dim length);
  static Type tuple(std::vector<Type> elements);
  static Type dict(Type key, Type value);
  static Type state(Type tensor);

  Kind kind() const { return kind_; }
  bool isValid() const { return kind_ != Kind::Invalid; }
  bool isTensor() const { return kind_ == Kind::Tensor; }
  bool isList() const { return kind_ == Kind::List; }
  bool isState() const { return kind_ == Kind::State; }

  /// Of a tensor. `dtype` and `shape` also see through a state to what it wraps.
  DType dtype() const;
  llvm::ArrayRef<Dim> shape() const;
  unsigned rank() const { return shape().size(); }
  bool isScalar() const { return isTensor() && shape().empty(); }
  bool hasStaticShape() const;

  /// Of a list: element and length; of a state: the wrapped tensor as element.
  const Type &element() const { return parts_->nested[0]; }
  const Dim &length() const { return parts_->shape[0]; }
  /// Of a tuple: its elements; of a dict: key and value.
  llvm::ArrayRef<Type> elements() const;

  /// The same tensor type with another element type or shape.
  Type withDType(DType dtype) const;
  Type withShape(llvm::ArrayRef<Dim> shape) const { return tensor(dtype(), shape); }

  /// Equal kinds, element types and dimensions proved equal.
  friend bool operator==(const Type &a, const Type &b);

  /// As in MIL text: "tensor<fp16, [1, 6000]>", "fp16" for a scalar; a dynamic dimension is "?".
  std::string str() const;

private:
  struct Parts {
    Shape shape;
    std::vector<Type> nested;
  };
  Type(Kind kind, Shape shape, std::vector<Type> nested);

  Kind kind_ = Kind::Invalid;
  DType dtype_ = DType::F32;
  std::shared_ptr<const Parts> parts_; ///< null for a scalar
};

/// Equal up to dimensions that are dynamic on either side, so that a value of one type may be bound
/// to a parameter of the other.
bool compatible(const Type &a, const Type &b);

} // namespace plait::mil
