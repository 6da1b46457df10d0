// Holds a function against the model it was made from.
#pragma once

#include "runtime/Compare.h"
#include "runtime/RandomInputs.h"
#include "runtime/Reference.h"

namespace plait::runtime {

struct VerifyOptions {
  uint64_t seed = 0;
  /// Sets of random inputs; inputs that are given stay the same in each.
  unsigned draws = 1;
  std::vector<NamedTensor> inputs;
  llvm::StringMap<Range> ranges;
  /// Defaults by the function: 1e-3 and 1e-2 where anything in it is fp16, else 1e-5 and 1e-4.
  std::optional<double> absolute, relative;
  Compute compute = Compute::Float32;
  /// After a failure, look for the operation where it begins.
  bool bisect = false;
};

/// One output, at the draw where it was worst.
struct OutputReport {
  std::string name;
  Comparison comparison;
  unsigned draw = 0;
  bool passed = true;
};

/// An operation where the fp16 program leaves the same program run in fp32.
struct Divergence {
  std::string operation; ///< "conv 'layer1' (encoder.layer, model.py:12)"
  std::string value;
  Comparison comparison;
};

struct VerifyReport {
  bool passed = true;
  Tolerance tolerance;
  unsigned draws = 0;
  std::vector<OutputReport> outputs;
  /// With bisect: the first operation beyond the tolerance, and the first whose result is infinite
  /// or NaN where fp32's is finite.
  std::optional<Divergence> divergence, overflow;
};

/// States start at zero for each draw. Outputs are matched with the model's by position.
Expected<VerifyReport> verifyFunction(const mil::Function &function, const Reference &reference,
                                      const VerifyOptions &options);

/// Where rounding to fp16 (or computing natively in it) makes a function leave its fp32 self, for
/// the inputs given: both run in step.
Expected<std::pair<std::optional<Divergence>, std::optional<Divergence>>>
findDivergence(const mil::Function &function, llvm::ArrayRef<NamedTensor> inputs,
               Tolerance tolerance, Compute compute);

} // namespace plait::runtime
