// The device profile: what Core ML refuses or gets wrong although it is well-formed MIL. The rules
// name their sources: "coremltools" is its code at 9.0 (validator, back end, operation definitions,
// tests), a number is one of its issues, and other names are projects that write ML programs and
// run them on devices.
#include "mil/DeviceRules.h"

namespace plait::mil {

using device::Check;

namespace {

llvm::ArrayRef<Check> allChecks() {
  static const std::vector<Check> checks = [] {
    std::vector<Check> all = device::interfaceChecks().vec();
    llvm::append_range(all, device::operationChecks());
    return all;
  }();
  return checks;
}

} // namespace

llvm::ArrayRef<Rule> listRules() {
  static const std::vector<Rule> rules = [] {
    std::vector<Rule> list;
    for (const Check &check : allChecks())
      list.push_back(check.rule);
    return list;
  }();
  return rules;
}

std::vector<Violation> checkDeviceProfile(const Program &program) {
  std::vector<Violation> violations;
  device::Context context(program, violations);
  llvm::ArrayRef<Check> checks = allChecks();
  llvm::ArrayRef<Rule> rules = listRules();
  for (const auto &function : program.functions()) {
    context.function = function.get();
    auto run = [&](auto member, const auto &subject) {
      for (auto [i, check] : llvm::enumerate(checks))
        if (check.*member) {
          context.rule = &rules[i];
          (check.*member)(context, subject);
        }
    };
    run(&Check::function, *function);
    walk(function->body(), [&](Op &op) { run(&Check::op, op); });
  }
  return violations;
}

} // namespace plait::mil
