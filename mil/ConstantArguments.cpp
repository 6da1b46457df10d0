// The attribute, read and made.
#include "mil/ConstantArguments.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::mil {

std::map<std::string, std::string> constantArgumentsOf(const Function &function) {
  std::map<std::string, std::string> arguments;
  for (const auto &[attribute, entries] : function.attributes)
    if (attribute == constantArgumentsAttribute && entries.dict())
      for (const auto &[name, value] : *entries.dict())
        if (name.string() && value.string())
          arguments[*name.string()] = *value.string();
  return arguments;
}

void setConstantArguments(Function &function, const std::map<std::string, std::string> &arguments) {
  llvm::erase_if(function.attributes, [](const auto &attribute) {
    return attribute.first == constantArgumentsAttribute;
  });
  if (arguments.empty())
    return;
  Attr::Dict entries;
  for (const auto &[name, value] : arguments)
    entries.emplace_back(Attr::string(name), Attr::string(value));
  Type text = Type::tensor(DType::String);
  function.attributes.emplace_back(constantArgumentsAttribute.str(),
                                   Attr::dict(text, text, std::move(entries)));
}

} // namespace plait::mil
