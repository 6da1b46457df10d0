// Names of sizes, read and made.
#include "mil/SizeNames.h"

#include "mil/SizeExpression.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"

namespace plait::mil {

/// Whether the symbol is a part of the size.
static bool mentions(const Dim &dim, llvm::StringRef symbol) {
  bool found = false;
  dim.evaluate([&](llvm::StringRef name) {
    found |= name == symbol;
    return std::optional<int64_t>(1);
  });
  return found;
}

/// How a dimension is called by its place alone.
static std::string nameByPlace(const Value &input, size_t axis) {
  return (input.name + "_" + llvm::Twine(axis)).str();
}

std::vector<std::string> sizeNames(const Function &function, const Value &input) {
  if (!input.type.isTensor())
    return {};
  std::vector<std::string> names;
  for (auto [axis, dim] : llvm::enumerate(input.type.shape())) {
    std::string &name = names.emplace_back();
    if (dim.isConst())
      continue;
    name = dim.str();
    if (!dim.isSymbol()) // as it follows from others
      continue;
    unsigned count = 0;
    for (const auto &other : function.inputs())
      if (other->type.isTensor())
        count += unsigned(llvm::count_if(other->type.shape(),
                                         [&](const Dim &size) { return mentions(size, name); }));
    if ((count < 2 && name == nameByPlace(input, axis)) ||
        !isLegalName(name)) // of a size that nothing is known of
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

namespace {

/// What the attribute says of one dimension.
struct NamedSize {
  Value *input;
  size_t axis;
  const std::string *text;
};

/// Every dimension that has a name or follows from others; nullopt where the attribute does not fit
/// the function.
std::optional<std::vector<NamedSize>> namedSizes(const Function &function, const Attr &attribute) {
  const Attr::Dict *entries = attribute.dict();
  if (!entries)
    return std::nullopt;
  std::vector<NamedSize> sizes;
  for (const auto &[key, value] : *entries) {
    const std::string *name = key.string();
    const auto *names = value.strings();
    auto input = llvm::find_if(function.inputs(),
                               [&](const auto &one) { return name && one->name == *name; });
    if (!names || input == function.inputs().end() || !(*input)->type.isTensor() ||
        names->size() != (*input)->type.rank())
      return std::nullopt;
    for (auto [axis, text] : llvm::enumerate(*names)) {
      if (text.empty())
        continue;
      if ((*input)->type.shape()[axis].isConst())
        return std::nullopt;
      sizes.push_back({input->get(), axis, &text});
    }
  }
  return sizes;
}

} // namespace

void applySizeNames(Function &function, const Attr &attribute) {
  auto sizes = namedSizes(function, attribute);
  if (!sizes)
    return;
  llvm::StringMap<Dim> symbols;
  for (const NamedSize &size : *sizes) {
    const Dim &dim = size.input->type.shape()[size.axis];
    if (!isLegalName(*size.text))
      continue;
    Dim symbol = Dim::symbol(*size.text, dim.lower(), dim.upper());
    const Dim &known = symbols.try_emplace(*size.text, symbol).first->second;
    if (known.lower() != dim.lower() || known.upper() != dim.upper())
      return;
  }
  llvm::MapVector<Value *, Shape> shapes;
  for (const NamedSize &size : *sizes) {
    auto dim = parseSize(*size.text, [&](llvm::StringRef name) -> std::optional<Dim> {
      auto it = symbols.find(name);
      return it == symbols.end() ? std::nullopt : std::optional(it->second);
    });
    if (!dim) {
      llvm::consumeError(dim.takeError());
      return;
    }
    auto [it, isNew] = shapes.try_emplace(size.input, size.input->type.shape());
    it->second[size.axis] = *dim;
  }
  for (auto &[input, shape] : shapes)
    input->type = input->type.withShape(shape);
}

} // namespace plait::mil
