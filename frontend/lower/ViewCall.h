// Calls whose first argument is a tensor that is looked at, not read: views, splits, copies.
#pragma once

#include "frontend/engine/ValueCall.h"

namespace plait::frontend {

struct ViewCall : ValueCall {
  explicit ViewCall(const ValueCall &call)
      : ValueCall(call), self(call.self()), rank(self->shape.size()) {}

  int64_t axis(llvm::StringRef name) const { return ValueCall::axis(name, rank); }
  /// The argument's sizes; nullopt where they are no integers.
  Maybe<Shape> dims(const char *name) const { return engine().dimsOf((*this)[name]); }

  Val::TensorPtr self;
  int64_t rank;
};

using ViewFn = Handled (*)(ViewCall &);

/// A row of `fn`; not for anything but tensors.
template <ViewFn fn> Handled ofTensor(ValueCall &call) {
  if (!call.self())
    return std::nullopt;
  ViewCall view(call);
  return fn(view);
}

/// `view_copy` and its like: what `fn` gives, as tensors of their own.
template <ViewFn fn> Handled copyOf(ValueCall &call) {
  Handled results = ofTensor<fn>(call);
  auto copy = [&](Val &val) {
    if (auto tensor = val.tensor())
      val = call.engine().copy(tensor);
  };
  if (results)
    for (Val &result : *results) {
      copy(result);
      if (auto list = result.list())
        llvm::for_each(list->values, copy);
    }
  return results;
}

} // namespace plait::frontend
