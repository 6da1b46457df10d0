// `plait doctor --fix`: rewrites what breaks a rule into what computes the same, and writes the
// package anew.
#pragma once

#include "driver/doctor/Doctor.h"

namespace plait::driver {

struct RepairOptions {
  std::string package;  ///< or a compiled model, or a text
  std::string output;   ///< a package; may be the same
  unsigned threads = 0; ///< 0: one a processor
  std::function<void(const Warning &)> warn = [](const Warning &) {};
};

/// Writes the package and looks at it again. Functions keep their names and opset; an input or
/// output that no package can have (bool, a scalar) changes its type. On error what was at the
/// output is as it was. A package that is not well-formed is refused.
Expected<Diagnosis> repair(const RepairOptions &options);

} // namespace plait::driver
