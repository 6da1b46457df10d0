// The device profile's own header: what a check of a rule gets, and the two tables of rules.
#pragma once

#include "mil/Infer.h"
#include "mil/Verifier.h"

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
    add("operation '" + op.name + "' (" + op.info().name + ")",
        fmt::format(format, std::forward<Args>(args)...), op.location);
  }
  template <typename... Args> void broken(fmt::format_string<Args...> format, Args &&...args) {
    add("", fmt::format(format, std::forward<Args>(args)...), {});
  }

private:
  void add(const std::string &where, const std::string &what, const Location &place) {
    std::string message = function ? function->name + ": " : "";
    if (!where.empty())
      message += where + (place ? " at " + place.str() : "") + ": ";
    violations_.push_back({rule, message + what + " [" + rule->id + "]"});
  }
  std::vector<Violation> &violations_;
};

/// A rule and what looks for places that break it: in a function as a whole, in each operation.
struct Check {
  Rule rule;
  void (*function)(Context &, const Function &);
  void (*op)(Context &, const Op &);
};

/// Rules of interfaces and of values of any kind (DeviceInterface.cpp).
llvm::ArrayRef<Check> interfaceChecks();
/// Rules of single operations (DeviceOperations.cpp).
llvm::ArrayRef<Check> operationChecks();

} // namespace plait::mil::device
