// Violations as one error and as warnings.
#include "driver/DeviceRules.h"

#include "mil/Verifier.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::driver {

using llvm::StringRef;

const Option allowOption{
    "allow", "RULE",
    "writes the package although Core ML is known to refuse it for this rule, with a warning; "
    "`plait opt --list-rules` lists them",
    0, Scope::Many};

Error checkRuleNames(llvm::ArrayRef<std::string> names) {
  llvm::SmallVector<StringRef, 48> known;
  for (const mil::Rule &rule : mil::listRules())
    if (rule.level == mil::Rule::Profile)
      known.push_back(rule.id);
  for (StringRef name : names)
    if (!llvm::is_contained(known, name))
      return makeError(Code::NothingMatches,
                       "there is no rule '{0}'{1}; `plait opt --list-rules` lists them", name,
                       didYouMean(name, known));
  return Error::success();
}

Expected<std::vector<std::string>> allowedRules(const Arguments &arguments) {
  std::vector<std::string> names = arguments.values(allowOption);
  if (Error error = checkRuleNames(names))
    return usageError(std::move(error), "--allow");
  return names;
}

Error checkDeviceRules(const mil::Program &program, StringRef what,
                       llvm::ArrayRef<std::string> allowed,
                       llvm::function_ref<void(const Warning &)> warn) {
  constexpr size_t kMaxLines = 10;
  std::vector<std::string> refused;
  std::vector<StringRef> rules;
  for (const mil::Violation &violation : mil::checkDeviceProfile(program)) {
    StringRef id = violation.rule->id;
    if (violation.rule->severity != mil::Rule::Refused || llvm::is_contained(allowed, id)) {
      warn({mil::codeOf(*violation.rule), violation.message});
      continue;
    }
    refused.push_back(violation.message);
    if (!llvm::is_contained(rules, id))
      rules.push_back(id);
  }
  if (refused.empty())
    return Error::success();
  std::string lines;
  for (const std::string &message : llvm::ArrayRef(refused).take_front(kMaxLines))
    lines += "\n" + message;
  if (refused.size() > kMaxLines)
    lines += fmt::format("\nand {0} more", refused.size() - kMaxLines);
  std::string options;
  for (StringRef id : rules)
    options += (" --allow " + id).str();
  return makeError(Code::RuleBroken,
                   "{0}: Core ML would refuse to load it, so nothing is written:{1}\nwith{2} it is "
                   "written all the same",
                   what, lines, options);
}

} // namespace plait::driver
