// Normalisations as functions of values, shared by the families.
#pragma once

#include "frontend/lower/Expr.h"

namespace plait::frontend {

/// Normalises over the last `axes` axes; gamma and beta (either may be null) have their shape.
Expr layerNorm(const Expr &x, size_t axes, Value *gamma, Value *beta, double epsilon);

/// Mean over axes (kept), and the mean of squared distances from it.
struct Moments {
  Expr mean, variance;
};
Moments moments(const Expr &x, llvm::ArrayRef<int64_t> axes);

} // namespace plait::frontend
