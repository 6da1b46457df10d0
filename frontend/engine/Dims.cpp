// Integers of any kind as symbolic sizes.
#include "frontend/engine/Bounds.h"
#include "frontend/engine/Engine.h"
#include "mil/InputSizes.h"

namespace plait::frontend {

Dim Engine::newSymbol(int64_t lower, int64_t upper) {
  return Dim::symbol("n" + std::to_string(nextSerial_++) + "_", lower, upper);
}

/// Whether an input has it all: the sizes of such a tensor follow from the inputs'.
static bool followsFromInputs(const mil::Function &function, const Dim &size) {
  if (size.isConst())
    return true;
  return llvm::all_of(size.terms(), [&](const Dim::Term &term) {
    return llvm::all_of(term.factors, [&](const Dim::Factor &factor) {
      return factor.kind == Dim::Factor::Symbol
                 ? mil::sourceOfSize(function, factor.name).has_value()
                 : followsFromInputs(function, factor.a) && followsFromInputs(function, factor.b);
    });
  });
}

Dim Engine::named(const Dim &size) {
  constexpr size_t many = 8; // terms
  if (size.isConst() || size.isSymbol() || size.terms().size() <= many ||
      followsFromInputs(function_, size))
    return size;
  auto [known, isNew] = namedSizes_.try_emplace(size.str());
  if (isNew)
    known->second = newSymbol(std::max<int64_t>(size.lower(), 0), size.upper());
  return known->second;
}

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
  // What is no size, because it is negative, has no bounds that count.
  Interval bounds = intervalOf(value);
  int64_t lower = 0;
  if (bounds.low >= 0 && bounds.low <= 0x1p31)
    lower = int64_t(std::ceil(bounds.low));
  if (bounds.high >= double(lower) && bounds.high <= 0x1p31)
    upper = std::max(std::min(upper, int64_t(std::floor(bounds.high))), lower);
  Dim symbol = newSymbol(lower, upper);
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
