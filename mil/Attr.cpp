// Construction and comparison of compile-time values.
#include "mil/Attr.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::mil {

Attr Attr::string(llvm::StringRef value) { return strings({value.str()}, {}); }

Attr Attr::strings(std::vector<std::string> values, llvm::ArrayRef<int64_t> shape) {
  Attr a;
  a.type_ = Type::tensor(DType::String, shape);
  a.value_ = std::move(values);
  return a;
}

Attr Attr::list(Type element, std::vector<Attr> values) {
  Attr a;
  a.type_ = Type::list(std::move(element), int64_t(values.size()));
  a.value_ = std::move(values);
  return a;
}

Attr Attr::tuple(std::vector<Attr> values) {
  Attr a;
  std::vector<Type> types;
  for (const Attr &value : values)
    types.push_back(value.type());
  a.type_ = Type::tuple(std::move(types));
  a.value_ = std::move(values);
  return a;
}

Attr Attr::dict(Type key, Type value, Dict entries) {
  Attr a;
  a.type_ = Type::dict(std::move(key), std::move(value));
  a.value_ = std::move(entries);
  return a;
}

const std::string *Attr::string() const {
  const auto *values = strings();
  return values && type_.isScalar() ? &values->front() : nullptr;
}

bool operator==(const Attr &a, const Attr &b) {
  if (!(a.type_ == b.type_) || a.value_.index() != b.value_.index())
    return false;
  const TensorData *x = a.tensor(), *y = b.tensor();
  if (!x)
    return a.strings()    ? *a.strings() == *b.strings()
           : a.elements() ? *a.elements() == *b.elements()
           : a.dict()     ? *a.dict() == *b.dict()
                          : true;
  if (x->sameTree(*y))
    return true;
  llvm::ArrayRef<uint8_t> p = x->contiguousBytes(), q = y->contiguousBytes();
  return !p.empty() && p == q;
}

} // namespace plait::mil
