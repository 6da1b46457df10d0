// Names of sizes, read and made.
#include "mil/SizeNames.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"

namespace plait::mil {

std::vector<std::string> sizeNames(const Function &function, const Value &input) {
  if (!input.type.isTensor())
    return {};
  std::vector<std::string> names;
  for (auto [axis, dim] : llvm::enumerate(input.type.shape())) {
    std::string &name = names.emplace_back();
    if (!dim.isSymbol())
      continue;
    unsigned count = 0;
    for (const auto &other : function.inputs())
      if (other->type.isTensor())
        count += unsigned(llvm::count(other->type.shape(), dim));
    if (count > 1 || dim.str() != (input.name + "_" + llvm::Twine(axis)).str())
      name = dim.str();
    if (!isLegalName(name)) // of a size that nothing is known of
      name.clear();
  }
  if (llvm::all_of(names, [](const std::string &name) { return name.empty(); }))
    names.clear();
  return names;
}

std::optional<Attr> sizeNames(const Function &function) {
  Attr::Dict entries;
  for (const auto &input : function.inputs())
    if (auto names = sizeNames(function, *input); !names.empty()) {
      int64_t count = int64_t(names.size());
      entries.emplace_back(Attr::string(input->name), Attr::strings(std::move(names), {count}));
    }
  if (entries.empty())
    return std::nullopt;
  return Attr::dict(Type::tensor(DType::String),
                    Type::tensor(DType::String, llvm::ArrayRef<Dim>(Dim::unknown())),
                    std::move(entries));
}

void applySizeNames(Function &function, const Attr &attribute) {
  const Attr::Dict *entries = attribute.dict();
  if (!entries)
    return;
  std::vector<std::pair<Value *, Shape>> named;
  llvm::StringMap<std::pair<int64_t, int64_t>> bounds;
  for (const auto &[key, value] : *entries) {
    const std::string *name = key.string();
    const auto *names = value.strings();
    auto input = llvm::find_if(function.inputs(),
                               [&](const auto &one) { return name && one->name == *name; });
    if (!names || input == function.inputs().end() || !(*input)->type.isTensor() ||
        names->size() != (*input)->type.rank())
      return;
    Shape shape((*input)->type.shape());
    for (auto [dim, symbol] : llvm::zip(shape, *names)) {
      if (symbol.empty())
        continue;
      std::pair<int64_t, int64_t> own(dim.lower(), dim.upper());
      if (dim.isConst() || !isLegalName(symbol) ||
          bounds.try_emplace(symbol, own).first->second != own)
        return;
      dim = Dim::symbol(symbol, own.first, own.second);
    }
    named.emplace_back(input->get(), std::move(shape));
  }
  for (auto &[input, shape] : named)
    input->type = input->type.withShape(shape);
}

} // namespace plait::mil
