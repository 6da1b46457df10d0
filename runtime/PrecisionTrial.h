// How far a function that computes partly in fp16 is from the same one in fp32.
#pragma once

#include "runtime/Runner.h"

#include "llvm/ADT/STLFunctionalExtras.h"

#include <memory>

namespace plait::runtime {

/// One function in fp32 and what it gives without rounding: outputs, contents of states, and of
/// outputs that are whole numbers what decides about them.
class PrecisionTrial {
public:
  /// Runs `exact` on each set of inputs; one that keeps states twice in a row. It must outlive the
  /// trial.
  static Expected<PrecisionTrial> create(const mil::Function &exact,
                                         llvm::ArrayRef<std::vector<NamedTensor>> inputs);
  PrecisionTrial(PrecisionTrial &&) noexcept;
  ~PrecisionTrial();

  /// The power of the error of each compared value in each run, as a part of the power of the
  /// value. Infinite where a number became NaN or infinite. `counterpart` says which value of
  /// `candidate` a value of the exact function is.
  Expected<std::vector<double>>
  noise(const mil::Function &candidate,
        llvm::function_ref<const mil::Value *(const mil::Value *)> counterpart) const;

private:
  struct Impl;
  explicit PrecisionTrial(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace plait::runtime
