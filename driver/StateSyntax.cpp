// Parsing states; the grammar opens the header.
#include "driver/StateSyntax.h"

#include "driver/InputSyntax.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::driver {

using llvm::StringRef;
using Others = frontend::StatesRequest::Others;

static Error wanted(StringRef text) {
  return makeError(
      Code::InputSyntax,
      "states '{0}': auto, none, NAME=fp16[SHAPE], NAME=input or NAME=none is wanted; an example: "
      "k_cache=fp16[1, 8, 512, 64]",
      text);
}

Error addStates(frontend::StatesRequest &request, StringRef text) {
  StringRef word = text.trim();
  if (word == "auto" || word == "none") {
    if (request.others != Others::Refuse)
      return makeError(Code::InputSyntax, "states: '{0}' beside another auto or none", word);
    request.others = word == "auto" ? Others::Keep : Others::Forget;
    return Error::success();
  }
  auto [name, type] = word.split('=');
  frontend::StateSpec state;
  state.attribute = name.trim().str();
  type = type.trim();
  if (state.attribute.empty() || type.empty())
    return wanted(text);
  using Kind = frontend::StateSpec::Kind;
  state.kind = type == "input" ? Kind::Input : type == "none" ? Kind::Forget : Kind::State;
  if (state.kind == Kind::State) {
    StringRef dtype = type.take_while(llvm::isAlnum);
    if (dtype == "fp32" || dtype == "int32" || dtype == "bool")
      return makeError(Code::StateImpossible,
                       "states '{0}': a state of Core ML holds fp16; {1}=input makes it an input "
                       "and an output, which the app hands on from call to call",
                       text, state.attribute);
    if (dtype != "fp16")
      return wanted(text);
    if (type != "fp16") {
      auto parsed = parseInput(type);
      if (!parsed) {
        consumeError(parsed.takeError());
        return wanted(text);
      }
      auto isFixed = [](const auto &dim) { return dim.lower == dim.upper && dim.name.empty(); };
      if (!parsed->enumerated.empty() || !llvm::all_of(parsed->shape, isFixed))
        return makeError(Code::StateImpossible, "states '{0}': a state has one fixed shape", text);
      state.shape.emplace();
      for (const auto &dim : parsed->shape)
        state.shape->push_back(dim.lower);
    }
  }
  for (const frontend::StateSpec &other : request.named)
    if (other.attribute == state.attribute)
      return makeError(Code::InputSyntax, "states: '{0}' is named twice", state.attribute);
  request.named.push_back(std::move(state));
  return Error::success();
}

std::vector<std::string> statesTexts(const frontend::StatesRequest &request) {
  std::vector<std::string> texts;
  if (request.others != Others::Refuse)
    texts.push_back(request.others == Others::Keep ? "auto" : "none");
  using Kind = frontend::StateSpec::Kind;
  for (const frontend::StateSpec &state : request.named) {
    std::string what = state.kind == Kind::Input    ? "input"
                       : state.kind == Kind::Forget ? "none"
                                                    : "fp16";
    if (state.shape)
      what += fmt::format("[{0}]", fmt::join(*state.shape, ", "));
    texts.push_back(state.attribute + "=" + what);
  }
  return texts;
}

} // namespace plait::driver
