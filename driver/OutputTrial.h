// What functions gave before their weights were compressed, and how far they are from it after; and
// what values hold on calibration inputs. Both run functions on the sets of a folder.
#pragma once

#include "driver/CompressionGoal.h"
#include "driver/InputSets.h"
#include "mil/IR.h"

namespace plait::driver {

class OutputTrial {
public:
  /// Runs all functions; `program` is not needed afterwards.
  static Expected<OutputTrial> create(const mil::Program &program, llvm::StringRef folder,
                                      llvm::function_ref<void(const Warning &)> warn);

  /// compress::MeasureOutputs.
  Expected<std::vector<double>> noise(const mil::Program &changed) const;
  /// Of what noise() gave: the worst output of each function.
  std::vector<FunctionSnr> perFunction(llvm::ArrayRef<double> noise) const;

private:
  struct Tried {
    std::string function;
    std::vector<InputSet> sets;
    std::vector<mil::TensorData> wanted; ///< set by set: outputs and states that are floats
  };
  /// Functions that keep states run twice on each set.
  static Expected<std::vector<mil::TensorData>> run(const mil::Function &function,
                                                    llvm::ArrayRef<InputSet> sets);
  std::vector<Tried> tried_;
};

/// compress::ObserveValues on the sets of a folder.
Error observe(const mil::Function &function, llvm::StringRef folder,
              llvm::ArrayRef<std::string> values,
              llvm::function_ref<Error(llvm::StringRef, const mil::TensorData &)> see);

} // namespace plait::driver
