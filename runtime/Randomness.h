// Functions that draw random numbers: which values depend on them, and whether two ways of drawing
// give the same distribution.
//
// The function and its model never draw the same numbers, so such an output is drawn many times
// from the function and from the model, on the same inputs. Of each draw a few dozen numbers are
// taken (Statistic): the output's mean, root mean square and quantiles, single elements, and sums
// of all elements with drawn signs. Each is a sample of independent draws on both sides, and the
// two samples are compared by the Kolmogorov-Smirnov test: the largest difference of their
// cumulative distributions, beyond what moving one of them by `tolerance` explains. The function is
// drawn as it computes. So a draw that rounding moves across a threshold (a dropout's) is no fault
// by itself: it is one where the distribution changes.
//
// For n draws each, the difference is larger than sqrt(ln(2 / a) / n) with a probability of a at
// most. a is kSignificance over the number of statistics, so that a right function is called wrong
// once in 10,000 times.
#pragma once

#include "mil/IR.h"

#include "llvm/ADT/StringSet.h"

namespace plait::runtime {

/// Whether it draws random numbers.
bool isRandom(const mil::Op &op);

/// "random_normal 'noise' (aten::randn in module ...)", in the order of the function.
std::vector<std::string> randomOperations(const mil::Function &function);

/// Names of the outputs and states that depend on random numbers.
llvm::StringSet<> randomResults(const mil::Function &function);

/// Draws on each side.
constexpr unsigned kRandomDraws = 200;
constexpr double kSignificance = 1e-4;

/// Where the two differ most.
struct DistributionReport {
  std::string statistic; ///< "mean", "element 3", ...
  double distance = 0, allowed = 0;
  /// The statistic's average over all draws.
  double ours = 0, theirs = 0;

  bool passed() const { return distance <= allowed; }
};

/// Draws of one output.
class TwoSamples {
public:
  /// Fails where the draws are not of one size.
  Error add(const mil::TensorData &ours, const mil::TensorData &theirs);
  DistributionReport compare(double tolerance) const;

private:
  std::vector<std::string> names_;
  std::vector<std::vector<double>> ours_, theirs_; ///< by statistic, then by draw
  int64_t elements_ = -1;
};

} // namespace plait::runtime
