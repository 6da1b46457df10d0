// Compression by what it does: schemes chosen for a size or a signal-to-noise ratio, errors weighed
// by calibration inputs, outputs measured.
#pragma once

#include "compress/Measured.h"
#include "driver/Compress.h"

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

/// "900MB", "1.5 GiB", "1000000"; nullopt where it is no number of bytes.
std::optional<uint64_t> parseBytes(llvm::StringRef text);

struct FunctionSnr {
  std::string function;
  double snr; ///< decibels of its worst output, beside the function with the weights that it had
};

struct MeasuredRequest : CompressionRequest {
  CompressionGoal goal{};
  uint64_t otherBytes = 0;                       ///< what the package takes beside its weights
  llvm::ArrayRef<compress::StoredForm> stored{}; ///< of the models
  std::function<void(const Warning &)> warn = [](const Warning &) {};
};

/// As the other one; `outputs` takes what was measured.
Expected<compress::ProgramResult> compressWeights(mil::Program &program,
                                                  const MeasuredRequest &request,
                                                  std::vector<FunctionSnr> *outputs = nullptr);

struct MeasuredCompressOptions : CompressOptions {
  CompressionGoal goal{};
};
/// As the other one. A package that is larger than the budget is not written.
Expected<CompileReport> compressPackage(const MeasuredCompressOptions &options,
                                        std::vector<FunctionSnr> &outputs);
/// One line a function.
void printOutputs(llvm::ArrayRef<FunctionSnr> outputs, llvm::raw_ostream &out);

} // namespace plait::driver
