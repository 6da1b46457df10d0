// The weights of a program: each once, with the consts that hold it and what is known of its users.
#pragma once

#include "compress/Measured.h"

#include "llvm/ADT/SetVector.h"

#include <memory>

namespace plait::compress {

/// A weight and all consts that hold it.
struct Weight {
  mil::TensorData tensor;
  std::vector<mil::Op *> constants;
  llvm::SetVector<const mil::Function *> functions;
  std::vector<std::string> names;
  llvm::SmallVector<llvm::StringRef, 2> operations; ///< kinds of the users
  bool ofAdapter = false;
  bool isOutput = false;
  bool ofLinear = true;     ///< all users are linear layers that multiply with it
  std::optional<Axes> axes; ///< of the users that have some
  std::string conflict;     ///< two users that do not agree
  /// What it is multiplied with on calibration inputs; null where nobody knows.
  std::shared_ptr<InputSums> inputs;

  const std::string &name() const { return names.front(); }
};

/// Floating-point constants that are weights, in program order. What is compressed already is made
/// of parts, which are none.
Expected<std::vector<Weight>> weightsOf(mil::Program &program, const ProgramOptions &options);

/// Runs every function on the calibration inputs (MeasuredOptions::observe) and gives the weights
/// what they are multiplied with, summed over all their uses.
Error calibrate(llvm::ArrayRef<Weight *> weights, const MeasuredOptions &options);

/// One weight by one scheme; `guided` by what it is multiplied with, where that is known.
Expected<GuidedOutcome> compressOne(const Weight &weight, const Scheme &scheme,
                                    const MeasuredOptions &options, bool guided = true);

/// Why the scheme is not for the weight; empty where it is.
std::string refusal(const Weight &weight, const Scheme &scheme);

} // namespace plait::compress
