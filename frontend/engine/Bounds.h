// What a run-time value lies between, as far as that follows from how it is computed.
#pragma once

#include "mil/IR.h"

#include <cmath>
#include <optional>
#include <vector>

namespace plait::frontend {

/// Inclusive. NaN is in every interval.
struct Interval {
  double low = -INFINITY, high = INFINITY;

  /// Around these ends; everything where one of them is NaN.
  static Interval of(std::initializer_list<double> ends);
  Interval with(const Interval &other) const;
};

/// The elements of a constant that is small enough to be read; nullopt for any other value.
std::optional<std::vector<double>> constantValues(const mil::Value *value);

/// What every element of a tensor lies between, through at most so many operations.
Interval intervalOf(const mil::Value *value, unsigned steps = 12);

} // namespace plait::frontend
