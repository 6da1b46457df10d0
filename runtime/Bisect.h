// Finding the operation where a function begins to go wrong.
//
// The function is run twice in step: as it computes, and with no rounding to fp16. Where the two
// part, fp16 is to blame. The values computed without rounding are held against the model's own:
// where those part, the package computes something else (a wrong weight, another operation).
//
// Passes fuse what the model computes apart, so values are judged by what they hold: a value of the
// function agrees with the model when some step has as many elements and they are equal within the
// tolerance. A value is bad when neither it nor anything computed from it agrees, and the first bad
// one that is computed from good ones is where the two part.
//
// Where an operation is in the model, its location says (`compile --debug-info on`). A package may
// have none: plait's own by default, and those of other tools. Names of operations are no
// substitute. They hold a module's path at most, rewritten to what MIL allows, and lowering the
// model again would need the options that the package was compiled with. Values need nothing but
// the two: the place is then that of the step which the operation's value agrees with.
#pragma once

#include "runtime/ReferenceTrace.h"
#include "runtime/arrays/Compare.h"

namespace plait::runtime {

/// An operation, and the place in the model that computes what it does.
struct Finding {
  std::string operation; ///< "conv 'layer1'"
  std::string value;     ///< its result
  /// "aten::conv2d in module 'encoder.layer' at model.py:12"; empty where neither the package nor
  /// the model says.
  std::string place;
  std::optional<Comparison> comparison;
  /// Modules that parameters of the operation are of, beside the one it is in: a convolution has
  /// taken in the batch norm behind it. Known where the package says them.
  std::vector<std::string> modules{};
};

struct BisectReport {
  /// The first operation whose result, computed as the function computes, is beyond the tolerance
  /// of the same without rounding.
  std::optional<Finding> rounding;
  /// The first whose result has NaN or infinite elements that are finite without rounding, the
  /// number of those elements and the largest finite magnitude there without rounding.
  std::optional<Finding> overflow;
  int64_t overflowed = 0;
  double magnitude = 0;
  /// The first that makes NaN or infinity of finite operands, rounding or not; not looked for where
  /// overflow is found.
  std::optional<Finding> nonFinite;
  /// Whether values were held against the model's, and the first operation where they part.
  bool traced = false;
  std::optional<Finding> departure;
  /// Why the model could not be traced; empty otherwise.
  std::string untraced;
};

/// How values without rounding are held against the model's.
struct ModelMatch {
  Tolerance tolerance;
  /// Tensors of the model: what weights were before they were rounded.
  llvm::ArrayRef<mil::TensorData> weights = {};
  /// The outputs without rounding are known to be the model's: no departure is looked for, for what
  /// fusion leaves without a counterpart would be taken for one.
  bool reached = false;
};

/// `tolerance` is how far rounding may take a value; values are held against the model's by the
/// same where `match` is not given. `tracer` may be empty, and may fail: then places are unknown
/// and departure is not looked for.
Expected<BisectReport> bisect(const mil::Function &function, llvm::ArrayRef<NamedTensor> inputs,
                              Tolerance tolerance, Compute compute, const ReferenceTracer &tracer,
                              std::optional<ModelMatch> match = std::nullopt);

/// Lines that say what was found.
std::vector<std::string> describe(const BisectReport &report);

} // namespace plait::runtime
