// Compresses the weights of a program by more than rules: by what they are multiplied with, by what
// their errors do to the outputs, and by what they were before the model was saved.
#pragma once

#include "compress/Guided.h"
#include "compress/Program.h"
#include "compress/Stored.h"

namespace plait::compress {

/// What compression does to the outputs of a program whose functions and values have the names of
/// the original ones: of each value that is compared the power of its error as a part of its own,
/// function after function. Infinite where a number became NaN or infinite.
using MeasureOutputs = std::function<Expected<std::vector<double>>(const mil::Program &)>;

/// Runs a function on calibration inputs, and shows what each of the values holds, by its name, run
/// after run.
using ObserveValues = std::function<Error(
    const mil::Function &, llvm::ArrayRef<std::string> values,
    llvm::function_ref<Error(llvm::StringRef name, const mil::TensorData &tensor)> see)>;

struct MeasuredOptions : ProgramOptions {
  /// Empty: every number of a weight counts alike.
  ObserveValues observe{};
  bool gptq = false; ///< Guidance::gptq; needs `observe`
  /// Of parameters that were compressed before the model was saved: they become what they were
  /// then, but for those that a rule with a pattern fits.
  llvm::ArrayRef<StoredForm> stored{};
  /// Empty: outputs are not measured.
  MeasureOutputs measure{};
  /// Of weights that no rule fits the schemes are chosen (Choosing.h) where one of these is given,
  /// which needs `measure`: so that the package takes at most as many bytes, or so that every
  /// output has as many decibels of signal over noise, in few bytes.
  std::optional<uint64_t> budget{};
  std::optional<double> minSnr{};
  /// What the package of a program takes; with `budget`.
  std::function<Expected<uint64_t>(const mil::Program &)> packageBytes{};
  bool chooses() const { return budget || minSnr; }
};

struct MeasuredResult : ProgramResult {
  /// As MeasureOutputs gives it, of the program as it is now; empty where nothing is measured.
  std::vector<double> noise{};
};

/// As the other one.
Expected<MeasuredResult> compressProgram(mil::Program &program, const MeasuredOptions &options);

} // namespace plait::compress
