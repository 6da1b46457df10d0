// Construction, comparison and text of types.
#include "mil/Type.h"

#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/STLExtras.h"
#include <array>
#include <cassert>

namespace plait::mil {

Type::Type(Kind kind, Shape shape, std::vector<Type> nested)
    : kind_(kind),
      parts_(std::make_shared<const Parts>(Parts{std::move(shape), std::move(nested)})) {}

/// Most values of a program have one of few shapes: types of the static ones that a thread saw last
/// share theirs.
static Type &recentType(llvm::ArrayRef<Dim> shape) {
  thread_local std::array<Type, 64> recent;
  llvm::hash_code hash = llvm::hash_value(shape.size());
  for (const Dim &size : shape)
    hash = llvm::hash_combine(hash, size.value());
  return recent[hash % recent.size()];
}

Type Type::tensor(DType dtype, llvm::ArrayRef<Dim> shape) {
  Type t;
  if (shape.empty()) {
    t.kind_ = Kind::Tensor;
  } else if (llvm::any_of(shape, [](const Dim &size) { return !size.isConst(); })) {
    t = Type(Kind::Tensor, Shape(shape), {});
  } else {
    Type &recent = recentType(shape);
    if (recent.shape() != shape)
      recent = Type(Kind::Tensor, Shape(shape), {});
    t = recent;
  }
  t.dtype_ = dtype;
  return t;
}

Type Type::tensor(DType dtype, llvm::ArrayRef<int64_t> shape) {
  return tensor(dtype, llvm::ArrayRef<Dim>(Shape(shape.begin(), shape.end())));
}

Type Type::list(Type element, Dim length) {
  return Type(Kind::List, {std::move(length)}, {std::move(element)});
}

Type Type::tuple(std::vector<Type> elements) { return Type(Kind::Tuple, {}, std::move(elements)); }

Type Type::dict(Type key, Type value) {
  return Type(Kind::Dict, {}, {std::move(key), std::move(value)});
}

Type Type::state(Type tensor) {
  assert(tensor.isTensor());
  return Type(Kind::State, {}, {std::move(tensor)});
}

DType Type::dtype() const {
  assert(isTensor() || isState());
  return isState() ? element().dtype() : dtype_;
}

llvm::ArrayRef<Dim> Type::shape() const {
  if (isState())
    return element().shape();
  return isTensor() && parts_ ? llvm::ArrayRef<Dim>(parts_->shape) : llvm::ArrayRef<Dim>();
}

bool Type::hasStaticShape() const {
  return (isTensor() || isState()) &&
         llvm::all_of(shape(), [](const Dim &d) { return d.isConst(); });
}

llvm::ArrayRef<Type> Type::elements() const {
  return parts_ ? llvm::ArrayRef<Type>(parts_->nested) : llvm::ArrayRef<Type>();
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
  if (a.parts_ == b.parts_)
    return true;
  return a.parts_ && b.parts_ && a.parts_->shape == b.parts_->shape && a.elements() == b.elements();
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
    if (shape().empty())
      return name(dtype_).str();
    text = "tensor<" + name(dtype_).str() + ", [";
    for (auto [i, size] : llvm::enumerate(shape()))
      text += (i ? ", " : "") + dimension(size);
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
