// Notes as JSON.
#include "backend/InterfaceNotes.h"

#include "Model.pb.h"
#include "mil/ConstantArguments.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

namespace plait {

namespace json = llvm::json;

static constexpr llvm::StringLiteral kPrefix = "plait.interface.";

bool isNotesKey(llvm::StringRef key) { return key.starts_with(kPrefix); }

/// Whether the symbol is a part of the size.
static bool mentions(const mil::Dim &dim, llvm::StringRef symbol) {
  bool found = false;
  dim.evaluate([&](llvm::StringRef name) {
    found |= name == symbol;
    return std::optional<int64_t>(1);
  });
  return found;
}

/// How a dimension is called by its place alone.
static std::string nameByPlace(const mil::Value &input, size_t axis) {
  return (input.name + "_" + llvm::Twine(axis)).str();
}

std::vector<std::string> sizeNames(const mil::Function &function, const mil::Value &input) {
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
        count += unsigned(llvm::count_if(
            other->type.shape(), [&](const mil::Dim &size) { return mentions(size, name); }));
    if ((count < 2 && name == nameByPlace(input, axis)) ||
        !mil::isLegalName(name)) // of a size that nothing is known of
      name.clear();
  }
  if (llvm::all_of(names, [](const std::string &name) { return name.empty(); }))
    names.clear();
  return names;
}

void encodeNotes(const mil::Function &function, CoreML::Specification::Metadata &out) {
  json::Object sizes, constants, notes;
  for (const auto &input : function.inputs())
    if (auto names = sizeNames(function, *input); !names.empty())
      sizes[input->name.str()] = json::Array(names);
  for (const auto &[name, value] : mil::constantArgumentsOf(function))
    constants[name] = value;
  if (!sizes.empty())
    notes["sizes"] = std::move(sizes);
  if (!constants.empty())
    notes["constants"] = std::move(constants);
  if (notes.empty())
    return;
  std::string text;
  llvm::raw_string_ostream(text) << json::Value(std::move(notes));
  (*out.mutable_userdefined())[(kPrefix + function.name).str()] = std::move(text);
}

InterfaceNotes decodeNotes(const CoreML::Specification::Metadata &in, llvm::StringRef function) {
  InterfaceNotes notes;
  auto it = in.userdefined().find((kPrefix + function).str());
  if (it == in.userdefined().end())
    return notes;
  auto parsed = json::parse(it->second);
  if (!parsed) {
    llvm::consumeError(parsed.takeError());
    return notes;
  }
  const json::Object *object = parsed->getAsObject();
  if (const json::Object *sizes = object ? object->getObject("sizes") : nullptr)
    for (const auto &[input, names] : *sizes)
      if (const json::Array *list = names.getAsArray())
        for (const json::Value &name : *list)
          notes.sizes[llvm::StringRef(input).str()].push_back(
              name.getAsString().value_or("").str());
  if (const json::Object *constants = object ? object->getObject("constants") : nullptr)
    for (const auto &[name, value] : *constants)
      if (auto text = value.getAsString())
        notes.constants[llvm::StringRef(name).str()] = text->str();
  return notes;
}

void eraseNotes(llvm::StringRef function, CoreML::Specification::Metadata &from) {
  from.mutable_userdefined()->erase((kPrefix + function).str());
}

} // namespace plait
