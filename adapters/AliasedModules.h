// Modules that a base has by several names, of which PEFT may adapt one alone: refused where the
// base does not tell what is called by which.
//
//   self.b = self.a     PEFT adapts the calls of 'a'
//   blocks = [m, m]     PEFT adapts the parts of m, in every use
#pragma once

#include "adapters/AdapterPlan.h"

#include <set>

namespace plait::adapters {

/// `modules` are changed; those in `tied` only have the rows for tokens of another with their
/// weight, which all that has the weight is given.
Error checkNames(BaseModules &base, const std::map<unsigned, AdaptedModule> &modules,
                 const std::set<unsigned> &tied);

} // namespace plait::adapters
