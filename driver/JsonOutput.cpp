// The head of the object; the messages as its problems.
#include "driver/JsonOutput.h"

#include "driver/Diagnostics.h"
#include "support/Json.h"

#include "llvm/Support/raw_ostream.h"

#include <cmath>

namespace plait::driver {

namespace json = llvm::json;
using llvm::StringRef;

const Option jsonOption{"json", nullptr,
                        "one JSON object on the standard output, for other programs; errors and "
                        "warnings are in it too"};

bool asksForJson(const Command &command, llvm::ArrayRef<const char *> arguments) {
  if (command.find("json") != &jsonOption)
    return false;
  StringRef before;
  for (StringRef argument : arguments) {
    if (argument == "--")
      return false;
    if (argument == "--json" || argument == "--format=json" ||
        (before == "--format" && argument == "json"))
      return true;
    before = argument;
  }
  return false;
}

static StringRef nameOf(std::optional<FailureKind> kind) {
  if (!kind)
    return "usage";
  switch (*kind) {
  case FailureKind::Unknown:
    return "other";
  case FailureKind::Input:
    return "input";
  case FailureKind::Unsupported:
    return "unsupported";
  case FailureKind::Option:
    return "option";
  case FailureKind::File:
    return "file";
  case FailureKind::Cancelled:
    return "cancelled";
  }
  llvm_unreachable("all kinds are handled");
}

static json::Object toJson(const Message &message) {
  json::Object object{{"severity", message.isError ? "error" : "warning"},
                      {"message", jsonString(message.problem.message)}};
  if (message.isError)
    object["kind"] = nameOf(message.kind);
  if (message.problem.code != Code::None)
    object["code"] = plait::name(message.problem.code);
  for (auto [key, value] :
       {std::pair("function", &message.problem.function),
        std::pair("operation", &message.problem.operation),
        std::pair("module", &message.problem.module), std::pair("file", &message.problem.file)})
    if (!value->empty())
      object[key] = jsonString(*value);
  if (message.problem.line)
    object["line"] = message.problem.line;
  return object;
}

void printJson(const Command &command, int status, json::Object reply, llvm::raw_ostream &out) {
  json::Array problems;
  for (const Message &message : takeMessages())
    problems.push_back(toJson(message));
  reply["version"] = kJsonVersion;
  reply["plait"] = PLAIT_VERSION;
  reply["command"] = command.name;
  reply["status"] = status;
  reply["problems"] = std::move(problems);
  out << jsonText(std::move(reply), 2) << '\n';
}

json::Value finite(double number) {
  return std::isfinite(number) ? json::Value(number) : json::Value(nullptr);
}

json::Value jsonString(StringRef text) { return json::fixUTF8(text); }

json::Array jsonStrings(llvm::ArrayRef<std::string> texts) {
  json::Array array;
  for (const std::string &text : texts)
    array.push_back(jsonString(text));
  return array;
}

} // namespace plait::driver
