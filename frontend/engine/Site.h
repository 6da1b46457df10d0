// Where an operation stands in the program that is walked, and what becomes of its results.
#pragma once

#include "mil/Location.h"

#include <cstdint>

namespace plait::frontend {

struct Site {
  mil::Location location;
  /// Bit i: something reads result i. What nothing reads may be left out.
  uint64_t used = ~uint64_t(0);

  bool isUsed(unsigned result) const { return result >= 64 || (used >> result & 1); }
};

} // namespace plait::frontend
