// Where an operation stands in the program that is walked, and what becomes of its results.
#pragma once

#include "mil/Location.h"

#include "llvm/ADT/STLFunctionalExtras.h"

#include <cstdint>

namespace plait::frontend {

struct Site {
  mil::Location location;
  /// Bit i: something reads result i. What nothing reads may be left out.
  uint64_t used = ~uint64_t(0);
  /// Whether everything that takes the first result is a layer, or leads to one through arithmetic
  /// and changes of shape; where the walk cannot say, it is taken to be.
  llvm::function_ref<bool()> feedsLayers = nullptr;

  bool isUsed(unsigned result) const { return result >= 64 || (used >> result & 1); }
};

} // namespace plait::frontend
