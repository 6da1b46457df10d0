// What a base's parameters are with adapters merged into them, as PEFT's merge_and_unload leaves
// them: the reference that `plait verify` holds a function with adapters against. It shares the
// reading of files and the plan with the compiler, and nothing of what branches compute: plain
// loops over matrices.
#pragma once

#include "adapters/AdapterPlan.h"

namespace plait::adapters {

struct MergedParameter {
  std::string path; ///< "encoder.proj.weight", in the base
  TensorData value; ///< fp32
};

/// An error where an adapter cannot be merged.
Expected<std::vector<MergedParameter>> mergedParameters(const AdapterPlan &plan);

} // namespace plait::adapters
