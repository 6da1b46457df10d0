// Holds a function against the model it was made from.
#pragma once

#include "runtime/Bisect.h"
#include "runtime/RandomInputs.h"
#include "runtime/Reference.h"

#include "llvm/ADT/StringSet.h"

namespace plait::runtime {

struct VerifyOptions {
  uint64_t seed = 0;
  /// Sets of random inputs; inputs that are given stay the same in each.
  unsigned draws = 1;
  /// Calls on the same states for each draw, with other random inputs each.
  unsigned steps = 1;
  std::vector<NamedTensor> inputs;
  /// Inputs of the function that the model does not have.
  llvm::StringSet<> ownInputs;
  llvm::StringMap<Range> ranges;
  /// What the model takes of an image, whose pixels the function is given; nothing said: the same.
  std::map<std::string, mil::PixelArithmetic> pixels;
  /// Defaults by the function: 1e-3 and 1e-2 where anything in it is fp16, else 1e-5 and 1e-4.
  std::optional<double> absolute, relative;
  Compute compute = Compute::Float32;
  /// After a failure, look for the operation where it begins; against `tracer` where there is one.
  bool bisect = false;
  ReferenceTracer tracer;
};

/// One output, or a state after a call, where it was worst.
struct OutputReport {
  std::string name;
  Comparison comparison;
  unsigned draw = 0;
  bool passed = true;
  unsigned step = 0;
  bool isState = false;
};

struct VerifyReport {
  bool passed = true;
  Tolerance tolerance;
  unsigned draws = 0;
  std::vector<OutputReport> outputs; ///< states behind them
  /// States that the model has no tensor for.
  std::vector<std::string> uncompared;
  /// Of the first draw that failed.
  std::optional<BisectReport> bisect;
  /// After a failure: the operations of the function that draw random numbers, which no two runs
  /// have alike.
  std::vector<std::string> random;
};

/// States start at zero for each draw, and the model's tensors with what its file holds. Outputs
/// are matched with the model's by position, states by name. An input that the app hands on
/// (`--states NAME=input`) starts with what the model's tensor holds, and then takes what came out.
Expected<VerifyReport> verifyFunction(const mil::Function &function, const Reference &reference,
                                      const VerifyOptions &options);

} // namespace plait::runtime
