// Holds a function against the model it was made from.
#pragma once

#include "runtime/Bisect.h"
#include "runtime/RandomInputs.h"
#include "runtime/Randomness.h"
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
  /// What draws are given of it in turn, before `inputs` (driver/InputSets.h).
  std::vector<std::vector<NamedTensor>> sets;
  /// The standard deviation of random floats; draws after the second are of other shapes, too
  /// (distributionOf()).
  double inputScale = 1;
  /// Called with what is being done, call after call, and how much of the whole is done, from 0 to
  /// 1.
  std::function<void(llvm::StringRef, double)> progress = [](llvm::StringRef, double) {};
  /// Inputs of the function that the model does not have.
  llvm::StringSet<> ownInputs;
  llvm::StringMap<Range> ranges;
  /// What the model takes of an image, whose pixels the function is given; nothing said: the same.
  std::map<std::string, mil::PixelArithmetic> pixels;
  /// Tensors of the model: what weights were before they were rounded.
  std::vector<mil::TensorData> weights;
  /// Where one is given, outputs are judged by these alone. Defaults by the function: 1e-3 and 1e-2
  /// where anything in it is fp16, else 1e-5 and 1e-4.
  std::optional<double> absolute, relative;
  Compute compute = Compute::Float32;
  /// After a failure, look for the operation where it begins; against `tracer` where there is one.
  bool bisect = false;
  ReferenceTracer tracer;
};

/// Rounding that takes an output further than this part of its largest value is spoken of.
constexpr double kFarByRounding = 5e-3;

enum class Verdict : uint8_t {
  Fine,
  Rounded, ///< explained by rounding, and further away than any output may be
  Wrong,   ///< not explained by rounding
};

/// An operation, and the relative error (root mean square) of its operands and its result.
struct RoundingCause {
  std::string operation; ///< "square 'x' (aten::pow in module 'norm' at model.py:6)"
  double before = 0, after = 0;
};

/// One output, or a state after a call, where it was worst.
struct OutputReport {
  std::string name;
  Comparison comparison; ///< of the function as it computes with the model
  unsigned draw = 0;
  unsigned step = 0;
  bool isState = false;
  Verdict verdict = Verdict::Fine;
  /// The largest error, and what rounding explains of it. Of an output that is Wrong the error that
  /// is left without rounding.
  double distance = 0, explained = 0;
  /// Of the function as it computes with itself without rounding; nothing without noise runs.
  std::optional<Comparison> rounding;
  /// Of an output that rounding takes further than any may be and that quantize or round lead to:
  /// how far these alone take it, the function without rounding beside itself without their steps.
  std::optional<Comparison> steps;
  /// Whole numbers and bools: how many elements rounding changes, and how many are not the model's
  /// and are changed by no rounding.
  bool jumps = false;
  int64_t flipped = 0, unexplained = 0;
  /// What flips is decided by numbers that rounding moves so far, relative to the largest.
  double deciding = 0;
  /// Set where rounding decides about its size: what the function gives as it computes. The numbers
  /// are of the function without rounding, which gives the model's size.
  std::optional<mil::Type> roundedType{};
  /// Of an output that depends on random numbers: how its draws are distributed beside the model's.
  /// The other numbers are of the function beside itself without rounding, with the same draws.
  std::optional<DistributionReport> distribution;
  /// Where rounding takes the output further than half a per cent: what causes that.
  std::vector<RoundingCause> causes;

  bool passed() const { return verdict == Verdict::Fine; }
};

struct VerifyReport {
  bool passed = true;
  /// What outputs are judged by where `calibrated` is not set; else how far rounding may take them.
  Tolerance tolerance;
  bool calibrated = true;
  unsigned draws = 0;
  std::vector<OutputReport> outputs; ///< states behind them
  /// States that the model has no tensor for.
  std::vector<std::string> uncompared;
  /// Of several steps: tensors that the model writes to and the function does not keep
  /// (`--states none`). The model too began each call with what its file holds.
  std::vector<std::string> forgotten;
  /// Of the first draw that failed.
  std::optional<BisectReport> bisect;
  /// The operations of the function that draw random numbers.
  std::vector<std::string> random;
};

/// States start at zero for each draw, and the model's tensors with what its file holds. Outputs
/// are matched with the model's by position, states by name. Outputs that depend on random numbers
/// are compared by their distribution, and refused where that cannot be: a tolerance, several
/// steps, states or sizes that depend on them. An input that the app hands on
/// (`--states NAME=input`) starts with what the model's tensor holds, and then takes what came out.
/// What the function does not keep, it has as the model's file holds it in every call: the model's
/// tensor is put back before each.
Expected<VerifyReport> verifyFunction(const mil::Function &function, const Reference &reference,
                                      const VerifyOptions &options);

} // namespace plait::runtime
