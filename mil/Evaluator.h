// An interface that computes constants. runtime/ implements it with LibTorch; passes and the writer
// of weights use it, so that they need no LibTorch themselves.
#pragma once

#include "mil/Attr.h"

namespace plait::mil {

/// Evaluates one MIL operation on constants, with the numerics of the reference interpreter.
/// Thread-safe.
class Evaluator {
public:
  virtual ~Evaluator() = default;
  /// `operands` has one list a parameter of `kind`, empty where absent; returns one tensor a
  /// result, row-major.
  virtual Expected<std::vector<TensorData>> evaluate(OpKind kind,
                                                     llvm::ArrayRef<std::vector<Attr>> operands,
                                                     llvm::ArrayRef<Type> resultTypes) = 0;
};

} // namespace plait::mil
