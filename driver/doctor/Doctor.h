// What Core ML refuses, gets wrong or runs elsewhere in a package, of whatever tool, before a
// device says so: every rule of mil/DeviceRules.def, with the place that breaks it.
#pragma once

#include "mil/Rule.h"
#include "support/Error.h"

#include "llvm/ADT/STLFunctionalExtras.h"

#include <vector>

namespace plait::driver {

/// One place that breaks a rule.
struct Finding {
  const mil::Rule *rule;
  std::string function = {};  ///< "" where it is the whole package
  std::string operation = {}; ///< its name; "" where it is none
  std::string kind = {};      ///< of the operation: "transpose"
  std::string module = {};    ///< of the model, where the package tells
  std::string source = {};    ///< "model.py:12 in forward: y = …", where the package tells
  std::string what = {};      ///< one line

  /// "main: operation 'y' (transpose) at model.py:12 in forward: y = …"; "" for the whole package.
  std::string where() const;
};

struct Diagnosis {
  enum Form : uint8_t { Package, Compiled, Text };

  std::string path;
  Form form = Package;
  size_t functions = 0, operations = 0; ///< 0 where the model could not be read
  std::vector<Finding> findings = {};   ///< in the order of the table, then of the program

  size_t count(mil::Rule::Severity severity) const;
};

/// "mlpackage", "mlmodelc", "mil"
llvm::StringRef name(Diagnosis::Form form);

/// Looks at the package, the compiled model or the text at `path`. What is damaged is a finding.
/// An error is what plait cannot look at: nothing is there, another kind of model, a later version.
Expected<Diagnosis> diagnose(llvm::StringRef path);

/// Where findings go while a package is looked at.
using AddFinding = llvm::function_ref<void(mil::RuleId, std::string what)>;

} // namespace plait::driver
