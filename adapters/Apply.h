// Applies an AdapterPlan to a function: the base as it was lowered, with borders around the modules
// that the plan adapts (mil/ModuleTree.h), and constants that know which parameter they are.
//
//   keep   y = module(x) + s * B(A(x)): the weight is the base's own and stays shared
//   fold   y = module(x) with the weight W + s * B A, merged in fp32 when the package is written
//   inputs as keep, the factors being inputs of the function
//
// Parameters that an adapter brings of its own take the place of the constants that are the base's.
#pragma once

#include "adapters/Branch.h"

#include <set>

namespace plait::adapters {

/// The modules whose borders apply() needs.
std::vector<mil::BorderedModule> borderedModules(const AdapterPlan &plan, mil::LoraMode mode);

/// Only what every adapter of a base has alike can be inputs: an error for others.
Error checkInputs(const AdapterPlan &plan, llvm::ArrayRef<AdapterSpec> adapters);

struct Application {
  /// Of mil::LoraMode::Inputs: the inputs that were added to the function, in order.
  std::vector<AdapterInput> inputs;
  /// Parameters that the frontend computed with itself. Where there are any, the function is of no
  /// use: it is to be lowered again with these values; those that have none as constants.
  std::vector<mil::GivenParameter> missing;
  /// What of the adapters has no effect, because the base does not use it; empty where all has.
  std::string unused;
  bool allUnused = false; ///< nothing else is left of the adapters
};

/// Parameters that a function was lowered with already, and which of them it read.
struct GivenParameters {
  llvm::ArrayRef<mil::GivenParameter> values;
  std::set<std::pair<unsigned, std::string>> read;
};

/// On an error the function is of no use either.
Expected<Application> apply(mil::Function &function, const AdapterPlan &plan, mil::LoraMode mode,
                            const GivenParameters &given);

/// What a base's use of a parameter comes to, for the messages about parts that have no effect.
struct ModuleUse {
  bool called = false;
  bool readDirectly = false;  ///< its weight, by what is not its code
  std::set<std::string> read; ///< of the parameters that the adapters change
};
/// What of the plan has no effect; empty where all has. By AdaptedModule::index. `all`: nothing of
/// it has any.
std::string describeUnused(const AdapterPlan &plan, const std::map<unsigned, ModuleUse> &uses,
                           bool &all);

} // namespace plait::adapters
