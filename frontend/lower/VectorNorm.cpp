// Norms of vectors: (sum |x|^p)^(1/p).
//
// fp16 holds few powers: 1.5^30 is beyond it already. So powers are taken of parts of the largest
// element, m * (sum (|x|/m)^p)^(1/p), or of the smallest one where p is negative. LibTorch raises
// the elements themselves, whose powers overflow or vanish in its type, too: the norm of [20, 1]
// for p = 30 is inf in fp32. What is beyond those limits is what LibTorch makes of it, for else
// the package would differ from its model.
#include "frontend/lower/Norm.h"

#include "llvm/ADT/STLExtras.h"

#include <cfloat>
#include <cmath>

namespace plait::frontend {

using namespace mil;

namespace {
/// The smallest normal number of fp16. A part of something larger than the largest element does not
/// overflow, and it vanishes later than the element itself as long as the latter is below 1.
constexpr double kLeastScale = 0x1p-14;

/// The elements whose power LibTorch's type holds. Below is a norm of 0, above an infinite one.
struct Limits {
  Limits(double p, at::ScalarType dtype) {
    bool isDouble = dtype == at::kDouble;
    double vanishes = std::pow(isDouble ? DBL_TRUE_MIN : double(FLT_TRUE_MIN), 1 / p) *
                      std::pow(0.5, 1 / p); // half of it is rounded to 0
    double overflows = std::pow(isDouble ? DBL_MAX : double(FLT_MAX), 1 / p);
    low = p > 0 ? vanishes : overflows;
    high = p > 0 ? overflows : vanishes;
    leastScale = std::max(low, isDouble ? double(FLT_MIN) : kLeastScale);
    mostScale = std::min(high, double(FLT_MAX));
  }
  double low, high, leastScale, mostScale;
};

/// |p| is more than 1, and neither 2 nor infinite.
Expr scaledNorm(const Expr &magnitude, double p, llvm::ArrayRef<int64_t> axes, const Dim &count,
                at::ScalarType dtype, LoneElement lone) {
  Limits limits(p, dtype);
  OpKind extreme = p > 0 ? OpKind::reduce_max : OpKind::reduce_min;
  Expr leading = reduce(extreme, magnitude, axes, true);
  Expr scale = clamp(leading, limits.leastScale, limits.mostScale);
  Expr sum = reduce(OpKind::reduce_sum, power(magnitude / scale, p), axes, true);
  Expr norm = power(sum, 1 / p) * scale;
  // A power vanishes of each element by itself, and it is the sum of all that overflows. A quotient
  // by 0 is infinite without a constant that is, and NaN stays NaN.
  const Expr &small = p > 0 ? leading : norm, &large = p > 0 ? norm : leading;
  Expr result = norm;
  if (limits.high < FLT_MAX)
    result = result / castTo(lessEqual(large, limits.high), DType::F32);
  if (limits.low > FLT_MIN)
    result = result * castTo(greaterEqual(small, limits.low), DType::F32);
  if (lone == LoneElement::AsItIs && count.lower() <= 1 && !count.isConst())
    result = select(equal(sizeOf(magnitude.call(), count), 1), leading, result);
  return result;
}
} // namespace

Expr vectorNorm(const Expr &x, double p, llvm::ArrayRef<int64_t> axes, bool keep,
                at::ScalarType dtype, LoneElement lone) {
  if (!x.valid())
    return x;
  if (axes.empty())
    return p == 0 ? castTo(notEqual(x, 0.0), DType::F32) : absolute(x);
  if (p == 2)
    return reduce(OpKind::reduce_l2_norm, x, axes, keep);
  if (p == 1)
    return reduce(OpKind::reduce_l1_norm, x, axes, keep);
  if (p == 0)
    return reduce(OpKind::reduce_sum, castTo(notEqual(x, 0.0), DType::F32), axes, keep);
  Dim count = sizeOfAxes(x.shape(), axes);
  if (lone == LoneElement::AsItIs && count == Dim(1))
    return keep ? absolute(x) : squeeze(absolute(x), axes);
  if (std::isinf(p))
    return reduce(p > 0 ? OpKind::reduce_max : OpKind::reduce_min, absolute(x), axes, keep);
  // Roots of less than 1 are larger than what they are taken of; and nothing has no extreme.
  if (std::abs(p) < 1 || count.lower() == 0)
    return power(reduce(OpKind::reduce_sum, power(absolute(x), p), axes, keep), 1 / p);
  Expr norm = scaledNorm(absolute(x), p, axes, count, dtype, lone);
  return keep ? norm : squeeze(norm, axes);
}

} // namespace plait::frontend
