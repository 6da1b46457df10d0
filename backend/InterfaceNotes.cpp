// Notes as JSON.
#include "backend/InterfaceNotes.h"

#include "Model.pb.h"
#include "mil/ConstantArguments.h"
#include "mil/SizeNames.h"
#include "support/Json.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

namespace plait {

namespace json = llvm::json;

static constexpr llvm::StringLiteral kPrefix = "plait.interface.";

bool isNotesKey(llvm::StringRef key) { return key.starts_with(kPrefix); }

void encodeNotes(const mil::Function &function, CoreML::Specification::Metadata &out) {
  json::Object sizes, constants, handedOn, notes;
  for (const auto &input : function.inputs())
    if (auto names = mil::sizeNames(function, *input); !names.empty())
      sizes[input->name.str()] = json::Array(names);
  for (const auto &[name, value] : mil::constantArgumentsOf(function))
    constants[name] = value;
  for (const auto &[input, output] : mil::handedInputsOf(function))
    handedOn[input] = output;
  if (!sizes.empty())
    notes["sizes"] = std::move(sizes);
  if (!constants.empty())
    notes["constants"] = std::move(constants);
  if (!handedOn.empty())
    notes["handed_on"] = std::move(handedOn);
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
  auto parsed = parseJson(it->second);
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
  auto takeTexts = [&](llvm::StringRef key, std::map<std::string, std::string> &texts) {
    if (const json::Object *entries = object ? object->getObject(key) : nullptr)
      for (const auto &[name, value] : *entries)
        if (auto text = value.getAsString())
          texts[llvm::StringRef(name).str()] = text->str();
  };
  takeTexts("constants", notes.constants);
  takeTexts("handed_on", notes.handedOn);
  return notes;
}

void eraseNotes(llvm::StringRef function, CoreML::Specification::Metadata &from) {
  from.mutable_userdefined()->erase((kPrefix + function).str());
}

} // namespace plait
