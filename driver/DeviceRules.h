// The rules of devices on what is about to be written: what Core ML refuses is an error, what it
// gets wrong in places a warning. The option --allow makes a warning of an error, by the rule's
// name.
#pragma once

#include "driver/CommandLine.h"
#include "mil/IR.h"

#include "llvm/ADT/STLFunctionalExtras.h"

namespace plait::driver {

/// `--allow rank-limit`
extern const Option allowOption;
/// What the option says.
Expected<std::vector<std::string>> allowedRules(const Arguments &arguments);
/// Fails where one of the names is no rule's.
Error checkRuleNames(llvm::ArrayRef<std::string> names);

/// Fails where the program breaks a rule that devices refuse and that `allowed` does not name;
/// `what` is what would be written. Everything else goes to `warn`.
Error checkDeviceRules(const mil::Program &program, llvm::StringRef what,
                       llvm::ArrayRef<std::string> allowed,
                       llvm::function_ref<void(const Warning &)> warn);

} // namespace plait::driver
