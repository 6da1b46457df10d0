// Reading stacks.
#include "frontend/exported/Places.h"

#include "support/Format.h"
#include "support/TorchSource.h"

#include "llvm/ADT/StringExtras.h"

namespace plait::frontend {

using llvm::StringRef;

llvm::SmallVector<ModuleCallName, 8> moduleStackOf(StringRef text) {
  llvm::SmallVector<ModuleCallName, 8> stack;
  while (!text.empty()) {
    auto [entry, rest] = text.split(';');
    text = rest;
    auto [call, other] = entry.split(',');
    auto [path, type] = other.rsplit(',');
    // What passes of torch.export put in has no module; strict export before PyTorch 2.6 has
    // "L['self'].encoder.fc", with indices in brackets.
    if (call.starts_with("_empty_nn_module_stack"))
      continue;
    path.consume_front("L['self']");
    path.consume_front("L__self__");
    std::string plain;
    for (char c : path)
      if (c == '[')
        plain += '.';
      else if (c != ']' && c != '\'' && c != '"')
        plain += c;
    stack.push_back({call, StringRef(plain).ltrim('.').str(), type.rsplit('.').second});
    if (stack.back().type.empty())
      stack.back().type = type;
  }
  return stack;
}

std::string describeTrace(StringRef trace) {
  struct Line {
    StringRef file, number, function, code;
  };
  std::optional<Line> own, any;
  StringRef rest = trace;
  while (!rest.empty()) {
    auto [text, after] = rest.split('\n');
    rest = after;
    StringRef line = text.trim();
    if (!line.consume_front("File \""))
      continue;
    auto [file, place] = line.split("\", line ");
    auto [number, function] = place.split(", in ");
    StringRef code = rest.split('\n').first.trim();
    if (code.starts_with("File \""))
      code = "";
    any = Line{file, number, function, code};
    if (!isTorchSource(file))
      own = any;
  }
  const std::optional<Line> &best = own ? own : any;
  if (!best)
    return "";
  std::string result = fmt::format("{0}:{1}", best->file, best->number);
  if (!best->function.empty())
    result += fmt::format(" in {0}", best->function);
  if (!best->code.empty())
    result += fmt::format(": {0}", best->code);
  return result;
}

class Places::Table : public mil::SourceTable {
public:
  std::string describe(uint64_t position) const override { return describeTrace(traces[position]); }
  std::vector<std::string> traces;
};

Places::Places() : table_(std::make_shared<Table>()) {}

mil::Location Places::locate(const exported::Node &node, const mil::Name &op) {
  auto [module, isNew] = modules_.try_emplace(node.moduleStack);
  if (isNew)
    if (auto stack = moduleStackOf(node.moduleStack); !stack.empty())
      module->second = mil::Name(stack.back().path);
  if (node.stackTrace.empty())
    return mil::Location(module->second, mil::Name(), op);
  auto [trace, isUnknown] = known_.try_emplace(node.stackTrace, table_->traces.size());
  if (isUnknown)
    table_->traces.push_back(node.stackTrace);
  return mil::Location(module->second, table_, trace->second, op);
}

} // namespace plait::frontend
