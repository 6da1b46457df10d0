// Normalisations and norms as functions of values, shared by the families.
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

/// What LibTorch gives for one element, |x|: as it is, or by way of its power, which may overflow.
enum class LoneElement : uint8_t { AsItIs, Raised };

/// The p-norm over axes, as LibTorch computes it in `dtype`: infinite or 0 where the power of an
/// element is in that type, and right elsewhere, whatever the package's own type.
Expr vectorNorm(const Expr &x, double p, llvm::ArrayRef<int64_t> axes, bool keep,
                at::ScalarType dtype, LoneElement lone = LoneElement::AsItIs);

} // namespace plait::frontend
