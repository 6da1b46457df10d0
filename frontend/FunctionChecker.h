// What can be said of a function before it is lowered. No LibTorch type appears here.
#pragma once

#include "frontend/Frontend.h"

namespace plait::frontend {

/// Whether two functions are lowered to the same but for their names.
bool areAlike(const ModelFunction &a, const ModelFunction &b);

/// Keeps the model file that it opened last: the next function is often another method of it, or
/// another adapter. One thread at a time.
class FunctionChecker {
public:
  FunctionChecker();
  ~FunctionChecker();

  /// The model opens, its tensors have values, it has the method, the declared inputs are what that
  /// takes, and what is said by name of outputs, states, classes and texts is there. It is lowered
  /// for that, onto nothing; that it has what cannot be compiled is no error here, and of a model
  /// on another device, whose weights would be copied, the names are not looked at. Cancelled by a
  /// ProceedScope.
  Error check(const ModelFunction &declared);

  /// For what else is asked of a model's file: it is open already.
  Models &models();

private:
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace plait::frontend
