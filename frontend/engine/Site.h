// The place of an operation in the program that is walked, and which of its results are used.
#pragma once

#include "mil/Location.h"

#include <cstdint>

namespace plait::frontend {

struct Site {
  mil::Location location;
  /// Bit i is set where something reads result i. A result that nothing reads may be left out.
  uint64_t used = ~uint64_t(0);

  bool isUsed(unsigned result) const { return result >= 64 || (used >> result & 1); }
};

} // namespace plait::frontend
