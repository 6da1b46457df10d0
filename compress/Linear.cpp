// Exact fits of blocks, grids for longer runs, zero points.
#include "compress/Linear.h"

#include "compress/KMeans.h"

#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace plait::compress {

/// Blocks with more changes than this are searched on a grid.
static constexpr double kMostChanges = 2048;

float LinearFitter::rounded(double value) const {
  return float(range_.halves ? roundedToHalf(value) : double(float(value)));
}

/// q * scale as fp16 (fp32) gives it; the difference of q and a zero point is exact.
static inline float product(float scale, int q, bool halves) {
  float exact = scale * float(q); // of 11 and 9 digits: exact in fp32 for a half scale
  return halves ? float(roundedToHalf(exact)) : exact;
}

/// To the nearest integer, the even one of two; for magnitudes below 2^22.
static inline float toInteger(float value) { return value + 0x1.8p23f - 0x1.8p23f; }

/// The nearest integer for value / scale, then the better one of its neighbours for `stored`.
static inline int nearest(float value, float inverse, int zeroPoint, const LinearRange &range,
                          const float *stored) {
  float guess = toInteger(std::clamp(value * inverse, -1e4f, 1e4f));
  int q = std::clamp(int(guess) + zeroPoint, range.low, range.high);
  auto off = [&](int at) { return std::fabs(double(stored[at - range.low]) - double(value)); };
  if (q < range.high && off(q + 1) < off(q))
    return q + 1;
  if (q > range.low && off(q - 1) < off(q))
    return q - 1;
  return q;
}

/// What each integer stands for.
static void tabulate(const LinearRange &range, float scale, int zeroPoint, float *stored) {
  for (int q = range.low; q <= range.high; ++q)
    stored[q - range.low] = product(scale, q - zeroPoint, range.halves);
}

/// To half precision but for overflow and for which of two halves as near it is: written so that
/// compilers compute several at once.
static inline float toHalf(float value) {
  constexpr float split = 0x1p13f + 1, shift = 0.75f; // multiples of 2^-24
  float scaled = value * split, normal = scaled - (scaled - value);
  float subnormal = value + shift - shift;
  return std::fabs(value) < 0x1p-14f ? subnormal : normal;
}

/// The sum of squared errors of rounding to multiples of `step`, from low to high; a cycle a number
/// or two. In fp32 it is exact to eight digits.
template <bool ToHalf, typename Sum>
static double errorOf(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights, float step,
                      float inverse, float low, float high) {
  constexpr size_t lanes = 8, piece = 256;
  Sum squares[piece];
  double error = 0;
  for (size_t begin = 0; begin < values.size(); begin += piece) {
    size_t count = std::min(piece, values.size() - begin);
    const float *in = values.data() + begin;
    for (size_t i = 0; i < count; ++i) {
      float q = in[i] * inverse;
      q = q < low ? low : q;
      q = q > high ? high : q;
      float stored = toInteger(q) * step;
      Sum off = in[i] - (ToHalf ? toHalf(stored) : stored);
      squares[i] = off * off;
    }
    if (!weights.empty())
      for (size_t i = 0; i < count; ++i)
        squares[i] *= weights[begin + i];
    Sum sums[lanes] = {};
    size_t i = 0;
    for (; i + lanes <= count; i += lanes)
      for (size_t lane = 0; lane < lanes; ++lane)
        sums[lane] += squares[i + lane];
    for (; i < count; ++i)
      sums[0] += squares[i];
    for (Sum sum : sums)
      error += double(sum);
  }
  return error;
}

double LinearFitter::quickError(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                                double scale, int zeroPoint) const {
  return errorOf<false, float>(values, weights, float(scale), float(1 / scale),
                               float(range_.low - zeroPoint), float(range_.high - zeroPoint));
}

double LinearFitter::errorAt(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                             float scale, int zeroPoint) const {
  auto low = float(range_.low - zeroPoint), high = float(range_.high - zeroPoint);
  return range_.halves ? errorOf<true, double>(values, weights, scale, 1 / scale, low, high)
                       : errorOf<false, double>(values, weights, scale, 1 / scale, low, high);
}

void LinearFitter::consider(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                            double scale, int zeroPoint, LinearFit &best) {
  // Of what a half cannot hold, the smallest one that is not zero.
  float candidate = std::max(rounded(scale), range_.halves ? 0x1p-24f : 0x1p-126f);
  if (!(scale > 0) || !std::isfinite(candidate))
    return;
  double error = errorAt(values, weights, candidate, zeroPoint);
  if (error < best.error)
    best = {candidate, zeroPoint, error};
}

double LinearFitter::leastSquares(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                                  double scale, int zeroPoint) const {
  double products = 0, squares = 0;
  float inverse = float(1 / scale), low = float(range_.low - zeroPoint),
        high = float(range_.high - zeroPoint);
  for (size_t i = 0; i < values.size(); ++i) {
    float q = toInteger(std::clamp(values[i] * inverse, low, high));
    double weight = weights.empty() ? 1 : double(weights[i]);
    products += weight * double(values[i]) * double(q);
    squares += weight * double(q) * double(q);
  }
  return squares > 0 ? products / squares : scale;
}

void LinearFitter::fitExactly(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                              double least, double most, LinearFit &best) {
  changes_.clear();
  double energy = 0, products = 0, squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    double magnitude = std::fabs(double(values[i]));
    double weight = weights.empty() ? 1 : double(weights[i]);
    energy += weight * magnitude * magnitude;
    int limit = values[i] < 0 ? -range_.low : range_.high;
    // What the number is at the largest scale, and each change from there.
    int step = std::min(limit, int(magnitude / most + 0.5));
    products += weight * magnitude * step;
    squares += weight * step * step;
    for (++step; step <= limit && magnitude > least * (step - 0.5); ++step)
      changes_.push_back({float(magnitude / (step - 0.5)), uint32_t(i), step});
  }
  llvm::sort(changes_, [](const Change &a, const Change &b) {
    return a.scale != b.scale   ? a.scale > b.scale
           : a.index != b.index ? a.index < b.index
                                : a.step < b.step;
  });
  // The lowest points of a few parabolas, in order.
  struct Point {
    double error, scale;
  };
  std::array<Point, 3> lowest;
  lowest.fill({std::numeric_limits<double>::infinity(), 0});
  for (const Change &change : changes_) {
    double weight = weights.empty() ? 1 : double(weights[change.index]);
    products += weight * std::fabs(double(values[change.index]));
    squares += weight * (2 * change.step - 1);
    Point point{energy - products * products / squares, products / squares};
    for (Point &other : lowest)
      if (point.error < other.error)
        std::swap(point, other);
  }
  double found = best.error, at = 0;
  auto look = [&](double scale) {
    float candidate = rounded(scale);
    double error = candidate > 0 ? quickError(values, weights, candidate, 0) : found;
    if (error < found) {
      found = error;
      at = candidate;
    }
  };
  for (const Point &point : lowest) {
    if (!(point.error < found))
      break;
    // Of the two halves beside it the nearer one is the better one of the parabola.
    look(point.scale);
  }
  if (at > 0)
    consider(values, weights, at, 0, best);
}

void LinearFitter::fitOnGrid(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                             double least, double most, LinearFit &best) {
  constexpr int cells = 16;
  double step = (most - least) / cells, at = best.scale;
  double lowest = quickError(values, weights, at, 0);
  auto look = [&](double scale) {
    if (!(scale > 0))
      return;
    double error = quickError(values, weights, scale, 0);
    if (error < lowest) {
      lowest = error;
      at = scale;
    }
  };
  for (int i = 0; i <= cells; ++i)
    look(least + step * i);
  for (int halving = 0; halving < 4; ++halving) {
    step /= 2;
    double middle = at;
    look(middle - step);
    look(middle + step);
  }
  look(leastSquares(values, weights, at, 0));
  consider(values, weights, at, 0, best);
}

void LinearFitter::fitZeroPoint(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                                double low, double high, LinearFit &best) {
  low = std::min(low, 0.0);
  high = std::max(high, 0.0);
  int steps = range_.high - range_.low;
  // Clipping hardly pays with 256 integers.
  const double finest[] = {1, 0.98, 0.96}, coarse[] = {1, 0.94, 0.88, 0.82, 0.76, 0.7};
  llvm::ArrayRef<double> ratios = steps > 15 ? llvm::ArrayRef(finest) : llvm::ArrayRef(coarse);
  double lowest = std::numeric_limits<double>::infinity(), at = 0;
  int zeroAt = 0;
  auto look = [&](double scale, int zeroPoint) {
    float stored = rounded(scale);
    if (!(stored > 0) || zeroPoint < range_.low || zeroPoint > range_.high)
      return;
    double error = quickError(values, weights, stored, zeroPoint);
    if (error < lowest) {
      lowest = error;
      at = stored;
      zeroAt = zeroPoint;
    }
  };
  for (double a : ratios)
    for (double b : ratios) {
      double scale = (high * b - low * a) / steps;
      float stored = rounded(scale);
      if (!(stored > 0))
        continue;
      int zeroPoint =
          std::clamp(int(std::nearbyint(range_.low - low * a / stored)), range_.low, range_.high);
      if (a == 1 && b == 1) // what others take
        consider(values, weights, scale, zeroPoint, best);
      look(scale, zeroPoint);
    }
  for (int i = 0; i < 3; ++i) {
    double before = lowest;
    for (int z : {zeroAt, zeroAt - 1, zeroAt + 1})
      look(leastSquares(values, weights, at, z), z);
    if (lowest == before)
      break;
  }
  if (at > 0)
    consider(values, weights, at, zeroAt, best);
}

LinearFit LinearFitter::fit(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights) {
  double low = 0, high = 0;
  for (float value : values) {
    low = std::min(low, double(value));
    high = std::max(high, double(value));
  }
  // With any scale zeros are stored as zeros; 1 is one that no half makes zero.
  LinearFit best{1, range_.hasZeroPoint ? std::clamp(0, range_.low, range_.high) : 0, 0};
  best.error = errorAt(values, weights, best.scale, best.zeroPoint);
  if (low == 0 && high == 0)
    return best;
  if (range_.hasZeroPoint) {
    fitZeroPoint(values, weights, low, high, best);
    return best;
  }
  // The smallest scale that clips nothing, and the one of -high to high, which others take.
  double most = std::max(high / range_.high, low / range_.low);
  double symmetric = std::max(high, -low) / range_.high;
  consider(values, weights, symmetric, 0, best);
  consider(values, weights, most, 0, best);
  // A smaller scale clips the largest number; below this bound that alone costs more.
  double lightest = 1;
  for (float weight : weights)
    lightest = std::min(lightest, double(weight));
  double allowed = lightest > 0 ? std::sqrt(best.error / lightest) : most * range_.high;
  double least = std::max(most - allowed / range_.high, most / 64);
  double changes = 0;
  for (float value : values)
    changes += std::min(double(range_.high), std::fabs(value) / least + 0.5);
  if (changes <= kMostChanges)
    // A scale beyond that may be the best one of very few numbers.
    fitExactly(values, weights, least, most * (values.size() < 8 ? 1e3 : 1.5), best);
  else
    fitOnGrid(values, weights, least, std::max(most, symmetric) * 1.05, best);
  return best;
}

std::pair<int8_t, float> LinearFitter::nearestTo(float value, const LinearFit &fit) const {
  float guess = toInteger(std::clamp(value / fit.scale, -1e4f, 1e4f));
  int best = std::clamp(int(guess) + fit.zeroPoint, range_.low, range_.high);
  auto stored = [&](int q) { return product(fit.scale, q - fit.zeroPoint, range_.halves); };
  auto off = [&](int q) { return std::fabs(double(stored(q)) - double(value)); };
  for (int q : {best + 1, best - 1})
    if (q >= range_.low && q <= range_.high && off(q) < off(best))
      best = q;
  return {int8_t(best), stored(best)};
}

void LinearFitter::quantize(llvm::ArrayRef<float> values, const LinearFit &fit, int8_t *out,
                            float *stored) {
  float table[256];
  tabulate(range_, fit.scale, fit.zeroPoint, table);
  float inverse = 1 / fit.scale;
  for (size_t i = 0; i < values.size(); ++i) {
    int q = nearest(values[i], inverse, fit.zeroPoint, range_, table);
    out[i] = int8_t(q);
    stored[i] = table[q - range_.low];
  }
}

} // namespace plait::compress
