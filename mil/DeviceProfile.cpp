// The device profile: what Core ML refuses or gets wrong although it is well-formed MIL. The rules
// are rows of DeviceRules.def; here each is given what finds it.
#include "mil/DeviceRules.h"

namespace plait::mil {

using device::Check;

namespace {

const Rule kRules[] = {
#define RULE(NAME, ID, SEVERITY, LEVEL, FOUND, REPAIR, TEXT, REMEDY, SOURCE)                       \
  {ID, Rule::SEVERITY, Rule::LEVEL, Rule::FOUND, Rule::REPAIR, TEXT, REMEDY, SOURCE},
#include "mil/DeviceRules.def"
};

std::vector<Check> checksOf(Rule::Level level) {
  std::vector<Check> chosen;
  for (llvm::ArrayRef<Check> table :
       {device::interfaceChecks(), device::operationChecks(), device::engineChecks()})
    for (const Check &check : table)
      if (rule(check.rule).level <= level)
        chosen.push_back(check);
  return chosen;
}

} // namespace

const Rule &rule(RuleId id) { return kRules[unsigned(id)]; }

llvm::ArrayRef<Rule> listRules() { return kRules; }

llvm::StringRef name(Rule::Severity severity) {
  static constexpr const char *names[] = {"refused", "risky", "elsewhere"};
  return names[severity];
}

Code codeOf(const Rule &rule) {
  static constexpr Code codes[] = {Code::RuleBroken, Code::RuleRisky, Code::RuleRisky};
  return codes[rule.severity];
}

std::vector<Violation> checkDeviceProfile(const Program &program, Rule::Level level) {
  std::vector<Violation> violations;
  device::Context context(program, violations);
  std::vector<Check> checks = checksOf(level);
  for (const auto &function : program.functions()) {
    context.function = function.get();
    auto run = [&](auto member, const auto &subject) {
      for (const Check &check : checks)
        if (check.*member) {
          context.rule = &rule(check.rule);
          (check.*member)(context, subject);
        }
    };
    run(&Check::function, *function);
    walk(function->body(), [&](Op &op) { run(&Check::op, op); });
  }
  return violations;
}

} // namespace plait::mil
