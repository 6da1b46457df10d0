// Integers of any kind as symbolic sizes.
#include "frontend/engine/Engine.h"

namespace plait::frontend {

Maybe<Dim> Engine::dimOf(const Val &val, int64_t upper) {
  if (auto dim = val.asDim())
    return dim;
  if (auto tensor = val.tensor())
    if (auto dim = readDim(*tensor))
      return dim;
  mil::Value *value = nullptr;
  if (val.number() && val.number()->kind == c10::TypeKind::IntType)
    value = val.number()->value;
  else if (auto tensor = val.tensor(); tensor && at::isIntegralType(tensor->dtype(), false))
    value = reshape(read(*tensor), {});
  if (!value)
    return std::nullopt;
  Dim symbol = Dim::symbol("n" + std::to_string(nextSerial_++) + "_", 0, upper);
  symbolSources_[symbol.str()].push_back({value, -1, scopes_.back()});
  return symbol;
}

Maybe<Shape> Engine::dimsOf(const Val &list) {
  auto values = list.list();
  if (!values)
    return std::nullopt;
  Shape shape;
  for (const Val &value : values->values) {
    auto dim = dimOf(value);
    if (!dim)
      return std::nullopt;
    shape.push_back(*dim);
  }
  return shape;
}

} // namespace plait::frontend
