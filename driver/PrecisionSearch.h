// Which of many operations have to be in fp32 so that the rest may be in fp16: a search that asks
// for measurements and knows nothing of what is measured.
//
// Errors of operations that are in fp16 add up, nearly: their powers do where they are independent.
// So the search measures what a group of operations does when it alone is in fp16, splits the group
// that does most, and goes on until what is left together is within the bar. Single operations that
// are still beyond it are put in fp32, those that do most first. At the end each is tried in fp16
// again.
#pragma once

#include "support/Error.h"

#include <functional>
#include <vector>

namespace plait::driver {

struct PrecisionSearch {
  /// Units that are in fp32, in order, and the noise of the whole without each of them.
  struct Kept {
    unsigned unit;
    double without;
  };
  std::vector<Kept> kept;
  double before = 0; ///< the noise with all in fp16
  double after = 0;  ///< with those in fp32
  unsigned trials = 0;
};

/// The noise of each value that is compared, as a part of its signal's power, with those units in
/// fp32 that are marked. Infinite where something overflows.
using MeasureNoise = std::function<Expected<std::vector<double>>(const std::vector<bool> &wide)>;

/// Finds few of `count` units to be put in fp32 so that no noise is above `bar`. An error where it
/// is with all of them in fp32.
Expected<PrecisionSearch> searchPrecision(unsigned count, double bar, const MeasureNoise &measure);

/// Decibels of signal over noise, and back.
double toDecibels(double noise);
double toNoise(double decibels);

} // namespace plait::driver
