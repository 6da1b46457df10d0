// Which form each of many weights takes: the smallest error within so many bytes, or the fewest
// bytes within so much error.
//
//   weight     forms (bytes, error)                     noise of the outputs per error
//   fc1        (100, 0.1)  (200, 0.01)  (400, 0)        0.5  0.1
//   fc2        (100, 0.1)  (200, 0.01)  (400, 0)        0.1  2.0
//
// Noises of independent errors add. For one output a form on the convex hull of each weight, chosen
// by what a byte more takes away, is the optimum but for the last byte; the outputs are weighed so
// that none is far above the others.
#pragma once

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace plait::compress {

struct Form {
  uint64_t bytes;
  double error; ///< by the weight's power
};

struct FormProblem {
  std::vector<std::vector<Form>> forms;         ///< of each weight, at least one
  std::vector<std::vector<double>> sensitivity; ///< of each weight: of each output, at least one
};

/// For each weight the number of a form, so that the largest noise is small and the bytes are at
/// most as many; nullopt where the smallest forms take more.
std::optional<std::vector<unsigned>> leastNoise(const FormProblem &problem, uint64_t bytes);

/// The same so that the bytes are few and no noise is above its bar; nullopt where the best forms
/// do not reach that.
std::optional<std::vector<unsigned>> fewestBytes(const FormProblem &problem,
                                                 llvm::ArrayRef<double> bars);

/// The noise of each output.
std::vector<double> noiseOf(const FormProblem &problem, llvm::ArrayRef<unsigned> chosen);

} // namespace plait::compress
