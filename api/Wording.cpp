// Messages of the layers below speak of options of the command. A program sets fields.
#include "api/Impl.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"

namespace plait::inline v0 {

namespace {

/// Options with a value that has another form here; before the options alone.
constexpr std::pair<llvm::StringLiteral, llvm::StringLiteral> phrases[] = {
    {"--adapter NAME=", "FunctionOptions::adapter = "},
    {"--against BASE.pt --adapter DIR", "the base and VerifyOptions::adapter"},
    {"--base FILE.pt", "addFile()"},
    {"--function NAME=MODEL.pt", "a function of its own (addFile() or add())"},
    {"--lora inputs", "lora = Lora::inputs"},
    {"--lora keep", "lora = Lora::keep"},
    {"--precision fp32", "PackageOptions::precision = Precision::fp32"},
    {"--state-init input", "FunctionOptions::stateInputs"},
};

/// What an option is here; "" where it is none.
llvm::StringRef fieldOf(llvm::StringRef option) {
  return llvm::StringSwitch<llvm::StringRef>(option)
      .Case("adapter", "FunctionOptions::adapter")
      .Case("adapter-root", "FunctionOptions::adapterRoot")
      .Case("allow", "PackageOptions::allow")
      .Case("allow-unmatched", "FunctionOptions::allowUnmatched")
      .Case("against", "the model to verify against")
      .Case("atol", "VerifyOptions::atol")
      .Case("base", "addFile()")
      .Case("class-output", "FunctionOptions::classOutput")
      .Case("classes", "FunctionOptions::classes")
      .Case("default", "defaultFunction")
      .Case("describe", "FunctionOptions::describe")
      .Case("expect-shared", "PackageOptions::expectShared")
      .Case("function", "the function's name")
      .Case("input", "FunctionOptions::input")
      .Case("join-linears", "PackageOptions::joinLinears")
      .Case("keep-fp32", "PackageOptions::keepFp32")
      .Case("lora", "FunctionOptions::lora")
      .Case("lora-alpha", "FunctionOptions::loraAlpha")
      .Case("lora-scale", "FunctionOptions::loraScale")
      .Case("output", "FunctionOptions::output")
      .Case("precision", "PackageOptions::precision")
      .Case("resize", "an array of the wanted size")
      .Case("rtol", "VerifyOptions::rtol")
      .Case("share", "PackageOptions::share")
      .Case("state-init", "FunctionOptions::stateInputs")
      .Case("states", "FunctionOptions::states")
      .Case("steps", "VerifyOptions::steps")
      .Case("target", "PackageOptions::target")
      .Default("");
}

/// Of a list of texts in quotes or a single word behind it, `FunctionOptions::input = {"x=[1]"}`.
bool isList(llvm::StringRef option) {
  return option == "input" || option == "output" || option == "states" || option == "allow" ||
         option == "keep-fp32";
}

/// Takes the value of a list off `rest`; "" where there is none.
std::string takeValue(llvm::StringRef &rest) {
  llvm::StringRef text = rest;
  if (!text.consume_front(" "))
    return "";
  if (text.consume_front("'")) {
    size_t end = text.find('\'');
    if (end == llvm::StringRef::npos)
      return "";
    rest = text.drop_front(end + 1);
    return text.take_front(end).str();
  }
  llvm::StringRef word = text.take_while(
      [](char c) { return llvm::isAlnum(c) || c == '_' || c == '=' || c == '.' || c == '-'; });
  if (word != "auto" && word != "none" && !word.contains('=') && !word.contains('-'))
    return "";
  rest = text.drop_front(word.size());
  return word.str();
}

} // namespace

std::string forPrograms(llvm::StringRef rest) {
  std::string text;
  bool quoted = false; // in `plait opt --list-rules`, which is a command to type
  while (!rest.empty()) {
    char before = text.empty() ? ' ' : text.back();
    if (rest.starts_with("--") && !quoted && !llvm::isAlnum(before) && before != '-') {
      auto phrase =
          llvm::find_if(phrases, [&](const auto &p) { return rest.starts_with(p.first); });
      if (phrase != std::end(phrases)) {
        text += phrase->second;
        rest = rest.drop_front(phrase->first.size());
        continue;
      }
      llvm::StringRef option = rest.drop_front(2).take_while(
          [](char c) { return llvm::isLower(c) || llvm::isDigit(c) || c == '-'; });
      if (llvm::StringRef field = fieldOf(option); !field.empty()) {
        rest = rest.drop_front(2 + option.size());
        text += field;
        if (isList(option))
          if (std::string value = takeValue(rest); !value.empty())
            text += " = {\"" + value + "\"}";
        continue;
      }
    }
    quoted ^= rest.front() == '`';
    text += rest.front();
    rest = rest.drop_front();
  }
  return text;
}

} // namespace plait::inline v0
