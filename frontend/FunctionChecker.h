// What can be said of a function before it is lowered. No LibTorch type appears here.
#pragma once

#include "frontend/Frontend.h"

namespace plait::frontend {

/// Keeps the model file that it opened last: the next function is often another method of it, or
/// another adapter. One thread at a time.
class FunctionChecker {
public:
  FunctionChecker();
  ~FunctionChecker();

  /// The model opens, its tensors have values, it has the method, and the declared inputs are what
  /// that takes.
  Error check(const ModelFunction &declared);

private:
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace plait::frontend
