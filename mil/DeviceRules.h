// The device profile's own header: what a check of a rule gets, and the tables of checks.
#pragma once

#include "mil/Infer.h"
#include "mil/Verifier.h"

namespace plait::mil {

/// What a dimension of a tensor that the Neural Engine computes on has at most.
inline constexpr int64_t kLargestEngineDimension = 16384;

} // namespace plait::mil

namespace plait::mil::device {

/// Collects violations of the rule that is being checked.
class Context {
public:
  Context(const Program &program, std::vector<Violation> &violations)
      : program(program), violations_(violations) {}

  const Program &program;
  const Function *function = nullptr;
  const Rule *rule = nullptr;

  template <typename... Args>
  void broken(const Op &op, fmt::format_string<Args...> format, Args &&...args) {
    add(&op, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args> void broken(fmt::format_string<Args...> format, Args &&...args) {
    add(nullptr, fmt::format(format, std::forward<Args>(args)...));
  }

private:
  void add(const Op *op, std::string what) {
    Violation violation{rule, function ? function->name + ": " : ""};
    violation.function = function ? function->name : "";
    if (op) {
      violation.operation = op->name.str();
      violation.kind = op->info().name;
      violation.place = op->location;
      violation.message += fmt::format("operation '{0}' ({1}){2}: ", op->name, op->info().name,
                                       op->location ? " at " + op->location.str() : "");
    }
    violation.message += what + " [" + rule->id + "]";
    violation.what = std::move(what);
    violations_.push_back(std::move(violation));
  }
  std::vector<Violation> &violations_;
};

/// What looks for places that break a rule: in a function as a whole, in each operation.
struct Check {
  RuleId rule;
  void (*function)(Context &, const Function &);
  void (*op)(Context &, const Op &);
};

/// Rules of interfaces and of values of any kind (DeviceInterface.cpp).
llvm::ArrayRef<Check> interfaceChecks();
/// Rules of single operations (DeviceOperations.cpp).
llvm::ArrayRef<Check> operationChecks();
/// What some devices get wrong, or do not run where they could (DeviceEngine.cpp).
llvm::ArrayRef<Check> engineChecks();

/// The value has uses, and none but by constexpr_* operations.
bool feedsOnlyConstexpr(const Value &value);

} // namespace plait::mil::device
