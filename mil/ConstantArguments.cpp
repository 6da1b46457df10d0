// The attributes, read and made.
#include "mil/ConstantArguments.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::mil {

using Texts = std::map<std::string, std::string>;

static Texts textsOf(const Function &function, llvm::StringRef attribute) {
  Texts texts;
  for (const auto &[own, entries] : function.attributes)
    if (own == attribute && entries.dict())
      for (const auto &[name, value] : *entries.dict())
        if (name.string() && value.string())
          texts[*name.string()] = *value.string();
  return texts;
}

static void setTexts(Function &function, llvm::StringRef attribute, const Texts &texts) {
  llvm::erase_if(function.attributes, [&](const auto &own) { return own.first == attribute; });
  if (texts.empty())
    return;
  Attr::Dict entries;
  for (const auto &[name, value] : texts)
    entries.emplace_back(Attr::string(name), Attr::string(value));
  Type text = Type::tensor(DType::String);
  function.attributes.emplace_back(attribute.str(), Attr::dict(text, text, std::move(entries)));
}

Texts constantArgumentsOf(const Function &function) {
  return textsOf(function, constantArgumentsAttribute);
}
void setConstantArguments(Function &function, const Texts &arguments) {
  setTexts(function, constantArgumentsAttribute, arguments);
}
Texts handedInputsOf(const Function &function) { return textsOf(function, handedInputsAttribute); }
void setHandedInputs(Function &function, const Texts &outputs) {
  setTexts(function, handedInputsAttribute, outputs);
}

} // namespace plait::mil
