// Declarations of a function, collected.
#include "driver/InputDeclarations.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::driver {

using frontend::InputSpec;
using llvm::StringRef;

/// What stands behind the '=' of a constant. A list of sizes is a shape, unless it says `list`.
static std::optional<frontend::Constant> constantIn(StringRef text) {
  text = text.trim();
  bool isList = text.consume_front("list");
  auto constant = frontend::parseConstant(text);
  if (!constant || (isList && !constant->isList))
    return std::nullopt;
  bool isShape = constant->isList && !isList &&
                 llvm::all_of(constant->values, [](const frontend::Constant::Scalar &scalar) {
                   auto *size = std::get_if<int64_t>(&scalar);
                   return size && *size >= 0;
                 });
  return isShape ? std::nullopt : constant;
}

/// An argument that would be an input and the same in every call.
static Error bothSaid(StringRef text, StringRef name) {
  return makeError(Code::NameTaken,
                   "input '{0}': '{1}' is declared as an input and as what it is in every call; it "
                   "can be one of them",
                   text, name);
}

Error addDeclaration(frontend::ModelFunction &function, StringRef text, const InputSyntax &syntax) {
  StringRef name, value; // not a structured binding: Clang 14 lets no lambda capture one
  std::tie(name, value) = text.split('=');
  name = name.trim();
  if (auto constant = constantIn(value)) {
    if (!mil::isLegalName(name))
      return makeError(Code::IllegalName,
                       "input '{0}': '{1}' cannot be the name of an argument: {2}", text, name,
                       mil::whyIllegal(name));
    if (llvm::any_of(function.inputs, [&](const InputSpec &input) { return input.name == name; }))
      return bothSaid(text, name);
    if (!function.constants.emplace(name, std::move(*constant)).second)
      return makeError(Code::NameTaken, "input '{0}': '{1}' is said twice", text, name);
    return Error::success();
  }
  auto input = parseInput(text, syntax);
  if (!input)
    return input.takeError();
  if (function.constants.count(input->name))
    return bothSaid(text, input->name);
  function.inputs.push_back(std::move(*input));
  return Error::success();
}

Error resolveSizes(std::vector<InputSpec> &inputs) {
  std::map<std::string, InputSpec::Range> known;
  for (const InputSpec &input : inputs)
    for (const InputSpec::Range &range : input.shape) {
      if (range.name.empty() || !range.upper)
        continue;
      auto [it, isNew] = known.try_emplace(range.name, range);
      if (!isNew && it->second != range)
        return makeError(Code::InputShape,
                         "the size '{0}' is {1}..{2} in one input and {3}..{4} in another; say its "
                         "range once, and '{0}' alone elsewhere",
                         range.name, it->second.lower, it->second.upper, range.lower, range.upper);
    }
  for (InputSpec &input : inputs)
    for (InputSpec::Range &range : input.shape) {
      if (range.name.empty())
        continue;
      auto it = known.find(range.name);
      if (it == known.end())
        return makeError(Code::InputShape,
                         "input '{0}': nothing says what the size '{1}' may be; say it once, "
                         "'{1}:1..512'",
                         inputText(input), range.name);
      range = it->second;
    }
  return Error::success();
}

void inheritDeclarations(frontend::ModelFunction &function, const frontend::ModelFunction &common) {
  bool hasOwn = !function.inputs.empty();
  for (const InputSpec &input : common.inputs)
    if (!hasOwn && (input.name.empty() || !function.constants.count(input.name)))
      function.inputs.push_back(input);
  for (const auto &[name, constant] : common.constants)
    if (llvm::none_of(function.inputs,
                      [&, &wanted = name](const InputSpec &input) { return input.name == wanted; }))
      function.constants.emplace(name, constant);
}

} // namespace plait::driver
