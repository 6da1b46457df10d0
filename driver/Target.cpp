// The option --target, and to-opset on programs that come from packages.
#include "driver/Target.h"

#include "mil/Verifier.h"
#include "passes/Opsets.h"
#include "passes/Pipeline.h"

namespace plait::driver {

constexpr mil::Opset kOldestTarget = mil::Opset::iOS16;

const Option targetOption{"target", "ios16|ios17|ios18|ios26",
                          "the oldest system that runs the package (ios18, macOS 15); packages of "
                          "several functions need ios18"};

std::optional<mil::Opset> parseTarget(llvm::StringRef text) {
  for (const mil::OpsetInfo &row : mil::allOpsets())
    if (text == row.name && row.opset >= kOldestTarget)
      return row.opset;
  return std::nullopt;
}

std::string targetNames() { return mil::opsetNames(kOldestTarget); }

Expected<mil::Opset> readTarget(const Arguments &arguments, mil::Opset otherwise) {
  auto given = arguments.value(targetOption);
  if (!given)
    return otherwise;
  if (auto target = parseTarget(*given))
    return *target;
  return usageError(Code::OptionValue, "--target {0}: the choices are {1}", *given, targetNames());
}

Error bringTo(mil::Program &program, mil::Opset target) {
  for (const auto &function : program.functions())
    if (function->opset != target)
      if (Error error = mil::verify(*function))
        return addContext(std::move(error), "the function is not well-formed MIL");
  passes::PassContext context;
  context.options.target = target;
  auto changed = passes::runPasses(program, context, {passes::findPass("to-opset")});
  if (!changed)
    return changed.takeError();
  return passes::checkOpset(program, target);
}

} // namespace plait::driver
