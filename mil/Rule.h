// The rules on what Core ML refuses or gets wrong although it is well-formed MIL, as data: one
// table, DeviceRules.def. What looks for places that break a rule is in DeviceInterface.cpp,
// DeviceOperations.cpp and DeviceEngine.cpp, and for packages in driver/doctor/PackageRules.cpp.
#pragma once

#include "mil/Location.h"
#include "support/Code.h"

#include "llvm/ADT/ArrayRef.h"

#include <string>
#include <vector>

namespace plait::mil {

/// A row of DeviceRules.def.
struct Rule {
  enum Severity : uint8_t {
    Refused,   ///< does not load or compile
    Risky,     ///< known to fail or to be wrong in places
    Elsewhere, ///< right, but it does not run where it could, or takes more room than it need
  };
  enum Level : uint8_t {
    Profile, ///< checked before a package is written
    Doctor,  ///< asked for: a property of some devices, or of a package and not of its program
  };
  /// How it is found.
  enum Found : uint8_t {
    Interface, ///< from the inputs, outputs and states of a function
    Operation, ///< from each operation
    Package,   ///< from the files of a package
  };
  /// Whether `plait doctor --fix` can rewrite what breaks it.
  enum Repair : uint8_t {
    None,
    Exact,   ///< into what computes the same, bit for bit
    Rounded, ///< into what computes the same up to rounding
  };

  const char *id; ///< "rank-limit": stable, for options and messages
  Severity severity;
  Level level;
  Found found;
  Repair repair;
  const char *text;   ///< what is allowed
  const char *remedy; ///< the way out
  const char *source; ///< who says so: addresses with a space between
};

/// Names the rows of DeviceRules.def.
enum class RuleId : uint16_t {
#define RULE(NAME, ...) NAME,
#include "mil/DeviceRules.def"
};

const Rule &rule(RuleId id);
/// All of them, in the order of the table.
llvm::ArrayRef<Rule> listRules();

/// "refused", "risky", "elsewhere"
llvm::StringRef name(Rule::Severity severity);
/// Of messages that a rule is broken.
Code codeOf(const Rule &rule);

/// One place that breaks a rule.
struct Violation {
  const Rule *rule;
  std::string message;        ///< "main: operation 'y' (transpose): … [rule]"
  std::string function = {};  ///< "" where it is the whole package
  std::string operation = {}; ///< its name; "" where it is none
  std::string kind = {};      ///< of the operation: "transpose"
  std::string what = {};      ///< the message without place and rule
  Location place = {};        ///< of the operation
};

} // namespace plait::mil
