// Construction, comparison and text of types.
#include "mil/Type.h"

#include <cassert>

namespace plait::mil {

Type Type::tensor(DType dtype, llvm::ArrayRef<Dim> shape) {
  Type t;
  t.kind_ = Kind::Tensor;
  t.dtype_ = dtype;
  t.shape_.assign(shape.begin(), shape.end());
  return t;
}

Type Type::tensor(DType dtype, llvm::ArrayRef<int64_t> shape) {
  return tensor(dtype, llvm::ArrayRef<Dim>(Shape(shape.begin(), shape.end())));
}

Type Type::list(Type element, Dim length) {
  Type t;
  t.kind_ = Kind::List;
  t.shape_.push_back(std::move(length));
  t.nested_ = std::make_shared<const std::vector<Type>>(1, std::move(element));
  return t;
}

Type Type::tuple(std::vector<Type> elements) {
  Type t;
  t.kind_ = Kind::Tuple;
  t.nested_ = std::make_shared<const std::vector<Type>>(std::move(elements));
  return t;
}

Type Type::dict(Type key, Type value) {
  Type t = tuple({std::move(key), std::move(value)});
  t.kind_ = Kind::Dict;
  return t;
}

Type Type::state(Type tensor) {
  assert(tensor.isTensor());
  Type t;
  t.kind_ = Kind::State;
  t.nested_ = std::make_shared<const std::vector<Type>>(1, std::move(tensor));
  return t;
}

DType Type::dtype() const {
  assert(isTensor() || isState());
  return isState() ? element().dtype() : dtype_;
}

llvm::ArrayRef<Dim> Type::shape() const {
  if (isState())
    return element().shape();
  return isTensor() ? llvm::ArrayRef<Dim>(shape_) : llvm::ArrayRef<Dim>();
}

bool Type::hasStaticShape() const {
  return (isTensor() || isState()) &&
         llvm::all_of(shape(), [](const Dim &d) { return d.isConst(); });
}

llvm::ArrayRef<Type> Type::elements() const {
  return nested_ ? llvm::ArrayRef<Type>(*nested_) : llvm::ArrayRef<Type>();
}

Type Type::withDType(DType dtype) const {
  assert(isTensor());
  Type t = *this;
  t.dtype_ = dtype;
  return t;
}

bool operator==(const Type &a, const Type &b) {
  if (a.kind_ != b.kind_ || (a.isTensor() && a.dtype_ != b.dtype_))
    return false;
  return llvm::ArrayRef<Dim>(a.shape_) == llvm::ArrayRef<Dim>(b.shape_) &&
         a.elements() == b.elements();
}

bool compatible(const Type &a, const Type &b) {
  if (a.kind() != b.kind())
    return false;
  if (a.isTensor()) {
    if (a.dtype() != b.dtype() || a.rank() != b.rank())
      return false;
    for (auto [x, y] : llvm::zip(a.shape(), b.shape()))
      if (x.isConst() && y.isConst() && !(x == y))
        return false;
    return true;
  }
  if (a.elements().size() != b.elements().size())
    return false;
  for (auto [x, y] : llvm::zip(a.elements(), b.elements()))
    if (!compatible(x, y))
      return false;
  return true;
}

std::string Type::str() const {
  auto dimension = [](const Dim &d) { return d.isConst() ? d.str() : std::string("?"); };
  std::string text;
  switch (kind_) {
  case Kind::Invalid:
    return "<invalid>";
  case Kind::Tensor:
    if (shape_.empty())
      return name(dtype_).str();
    text = "tensor<" + name(dtype_).str() + ", [";
    for (size_t i = 0; i < shape_.size(); ++i)
      text += (i ? ", " : "") + dimension(shape_[i]);
    return text + "]>";
  case Kind::List:
    return "list<" + element().str() + ", " + dimension(length()) + ">";
  case Kind::State:
    return "state<" + element().str() + ">";
  case Kind::Tuple:
  case Kind::Dict:
    text = kind_ == Kind::Tuple ? "tuple<" : "dict<";
    for (size_t i = 0; i < elements().size(); ++i)
      text += (i ? ", " : "") + elements()[i].str();
    return text + ">";
  }
  return text;
}

} // namespace plait::mil
