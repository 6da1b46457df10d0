// The attribute, read and made.
#include "mil/DefaultValues.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::mil {

static const Attr::Dict *entriesOf(const Function &function) {
  for (const auto &[name, value] : function.attributes)
    if (name == defaultValuesAttribute)
      return value.dict();
  return nullptr;
}

std::optional<double> defaultValueOf(const Function &function, llvm::StringRef input) {
  const Attr::Dict *entries = entriesOf(function);
  if (!entries)
    return std::nullopt;
  for (const auto &[key, value] : *entries) {
    const std::string *name = key.string();
    if (!name || *name != input || !value.tensor() || value.tensor()->numElements() != 1)
      continue;
    auto numbers = value.tensor()->cast(DType::F64).floatValues();
    if (numbers)
      return numbers->front();
    llvm::consumeError(numbers.takeError());
  }
  return std::nullopt;
}

void setDefaultValue(Function &function, llvm::StringRef input, double value) {
  Attr::Dict entries;
  if (const Attr::Dict *before = entriesOf(function))
    entries = *before;
  llvm::erase_if(entries, [&](const auto &entry) {
    return entry.first.string() && *entry.first.string() == input;
  });
  entries.emplace_back(Attr::string(input), TensorData::from<float>(DType::F32, {}, float(value)));
  llvm::erase_if(function.attributes,
                 [](const auto &attribute) { return attribute.first == defaultValuesAttribute; });
  function.attributes.emplace_back(
      defaultValuesAttribute.str(),
      Attr::dict(Type::tensor(DType::String), Type::tensor(DType::F32), std::move(entries)));
}

} // namespace plait::mil
