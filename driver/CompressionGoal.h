// Compression by more than rules: schemes chosen for a size or a signal-to-noise ratio, errors
// weighed by calibration inputs, outputs measured.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace plait::driver {

/// `--size-budget 900MB`, `--min-snr 30`, `--inputs FOLDER`, `--calibrate FOLDER`, `--gptq`
struct CompressionGoal {
  /// Of weights that no rule names schemes are chosen, so that the package takes at most as many
  /// bytes, and so that every output of every function has as many decibels of signal over noise.
  std::optional<uint64_t> sizeBudget{};
  std::optional<double> minSnr{};
  /// A folder of inputs (driver/InputSets.h) on which outputs are measured; "" measures nothing. A
  /// folder in it that is called as a function is is for that function.
  std::string inputs{};
  /// Likewise, of inputs that say which errors of a weight matter: what it is multiplied with
  /// there, in all functions. "": every number of a weight counts alike.
  std::string calibration{};
  bool gptq = false; ///< by the calibration inputs (compress/Gptq.h)

  bool chooses() const { return sizeBudget || minSnr; }
};

struct FunctionSnr {
  std::string function;
  double snr; ///< decibels of its worst output, beside the function with the weights that it had
};

} // namespace plait::driver
