// Exact fits of blocks, grids for longer runs, zero points.
#include "compress/Linear.h"

#include "compress/KMeans.h"
#include "compress/Wide.h"
#include "support/Half.h"

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

/// The better one of an integer and its neighbours for `stored`.
static inline int nearest(float value, int q, const LinearRange &range, const float *stored) {
  auto off = [&](int at) { return std::fabs(double(stored[at - range.low]) - double(value)); };
  if (q < range.high && off(q + 1) < off(q))
    return q + 1;
  if (q > range.low && off(q - 1) < off(q))
    return q - 1;
  return q;
}

/// What each integer stands for.
static void tabulate(const LinearRange &range, float scale, int zeroPoint, float *stored) {
  auto count = size_t(range.high - range.low + 1);
  for (size_t i = 0; i < count; ++i)
    stored[i] = scale * float(range.low - zeroPoint + int(i)); // exact, as in product()
  if (!range.halves)
    return;
  std::array<uint16_t, 256> halves;
  floatToHalf(stored, halves.data(), count);
  halfToFloat(halves.data(), stored, count);
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
  auto step = float(scale), inverse = float(1 / scale);
  auto low = float(range_.low - zeroPoint), high = float(range_.high - zeroPoint);
  return wide([&]() PLAIT_WIDE {
    return errorOf<false, float>(values, weights, step, inverse, low, high);
  });
}

double LinearFitter::errorAt(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                             float scale, int zeroPoint) const {
  auto low = float(range_.low - zeroPoint), high = float(range_.high - zeroPoint);
  float inverse = 1 / scale;
  return wide([&]() PLAIT_WIDE {
    return range_.halves ? errorOf<true, double>(values, weights, scale, inverse, low, high)
                         : errorOf<false, double>(values, weights, scale, inverse, low, high);
  });
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

/// Sums over the integers that a scale gives: of value * q and of q * q, by weight.
static std::pair<double, double> momentsOf(llvm::ArrayRef<float> values,
                                           llvm::ArrayRef<float> weights, float inverse, float low,
                                           float high) {
  constexpr size_t lanes = 8;
  double products[lanes] = {}, squares[lanes] = {};
  auto add = [&](size_t i, size_t lane) PLAIT_WIDE {
    float scaled = values[i] * inverse;
    scaled = scaled < low ? low : scaled;
    scaled = scaled > high ? high : scaled;
    double q = double(toInteger(scaled));
    double weighted = weights.empty() ? q : q * double(weights[i]);
    products[lane] += double(values[i]) * weighted;
    squares[lane] += q * weighted;
  };
  size_t i = 0;
  for (; i + lanes <= values.size(); i += lanes)
    for (size_t lane = 0; lane < lanes; ++lane)
      add(i + lane, lane);
  for (; i < values.size(); ++i)
    add(i, 0);
  for (size_t lane = 1; lane < lanes; ++lane) {
    products[0] += products[lane];
    squares[0] += squares[lane];
  }
  return {products[0], squares[0]};
}

double LinearFitter::leastSquares(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                                  double scale, int zeroPoint) const {
  auto inverse = float(1 / scale);
  auto low = float(range_.low - zeroPoint), high = float(range_.high - zeroPoint);
  auto [products, squares] =
      wide([&]() PLAIT_WIDE { return momentsOf(values, weights, inverse, low, high); });
  return squares > 0 ? products / squares : scale;
}

/// By ascending inverse, equal ones by index: into as many buckets as there are, and then the few
/// that are not in order.
void LinearFitter::sortChanges(float least, float most) {
  size_t count = changes_.size();
  sorted_.resize(count);
  starts_.assign(count + 1, 0);
  float factor = most > least ? float(count) / (most - least) : 0;
  auto bucket = [&](const Change &change) {
    auto at = ptrdiff_t((change.inverse - least) * factor);
    return size_t(std::clamp<ptrdiff_t>(at, 0, ptrdiff_t(count) - 1));
  };
  for (const Change &change : changes_)
    ++starts_[bucket(change) + 1];
  for (size_t i = 1; i < count; ++i)
    starts_[i] += starts_[i - 1];
  for (const Change &change : changes_)
    sorted_[starts_[bucket(change)]++] = change;
  auto before = [](const Change &a, const Change &b) {
    return a.inverse != b.inverse ? a.inverse < b.inverse
           : a.index != b.index   ? a.index < b.index
                                  : a.step < b.step;
  };
  for (size_t i = 1; i < count; ++i) {
    Change change = sorted_[i];
    size_t at = i;
    for (; at > 0 && before(change, sorted_[at - 1]); --at)
      sorted_[at] = sorted_[at - 1];
    sorted_[at] = change;
  }
}

void LinearFitter::fitExactly(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                              double least, double most, LinearFit &best) {
  changes_.clear();
  double energy = 0, products = 0, squares = 0;
  auto first = float(1 / most), last = float(1 / least);
  for (size_t i = 0; i < values.size(); ++i) {
    float magnitude = std::fabs(values[i]);
    if (magnitude == 0)
      continue;
    double weight = weights.empty() ? 1 : double(weights[i]);
    energy += weight * double(magnitude) * double(magnitude);
    int limit = values[i] < 0 ? -range_.low : range_.high;
    // What the number is at the largest scale, and each change from there.
    int step = std::min(limit, int(magnitude * first + 0.5F));
    products += weight * double(magnitude) * step;
    squares += weight * step * step;
    float inverse = 1 / magnitude;
    for (++step; step <= limit; ++step) {
      float at = (float(step) - 0.5F) * inverse;
      if (at >= last)
        break;
      changes_.push_back({at, uint32_t(i), step});
    }
  }
  sortChanges(first, last);
  // The lowest points of a few parabolas, in order: those with the largest products^2 / squares.
  struct Point {
    double gain, scale;
  };
  std::array<Point, 3> lowest;
  lowest.fill({0, 0});
  for (const Change &change : sorted_) {
    double weight = weights.empty() ? 1 : double(weights[change.index]);
    products += weight * std::fabs(double(values[change.index]));
    squares += weight * (2 * change.step - 1);
    if (products * products <= lowest.back().gain * squares)
      continue;
    Point point{products * products / squares, products / squares};
    for (Point &other : lowest)
      if (point.gain > other.gain)
        std::swap(point, other);
  }
  double found = best.error, at = 0;
  for (const Point &point : lowest) {
    if (!(energy - point.gain < found))
      break;
    float candidate = rounded(point.scale);
    double error = candidate > 0 ? quickError(values, weights, candidate, 0) : found;
    if (error < found) {
      found = error;
      at = candidate;
    }
  }
  if (at > 0)
    consider(values, weights, at, 0, best);
}

double LinearFitter::expectedScale(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                                   double least, double most) const {
  // Of numbers that a scale clips by more than rounding would change them, for the scales of a
  // grid: what their errors are made of. Each number is in the cell of the largest scale that does.
  constexpr int cells = 48;
  struct Clipped {
    double weight = 0, ends = 0, products = 0, squares = 0;
  };
  std::array<Clipped, cells + 1> clipped;
  double step = (most - least) / cells;
  const double rounding = std::sqrt(1.0 / 12);
  auto clip = [&](double value, double weight) {
    double end = value < 0 ? -range_.low : range_.high, magnitude = std::fabs(value);
    double at = magnitude / (end + rounding);
    if (!(at > least) || !(step > 0))
      return;
    Clipped &cell = clipped[std::min(size_t(cells), size_t(std::ceil((at - least) / step)) - 1)];
    cell.weight += weight;
    cell.ends += weight * end * end;
    cell.products += weight * end * magnitude;
    cell.squares += weight * magnitude * magnitude;
  };
  double within = 0;
  auto up = float(least * range_.high), down = float(least * range_.low);
  constexpr size_t piece = 256;
  for (size_t begin = 0; begin < values.size(); begin += piece) {
    llvm::ArrayRef<float> part = values.slice(begin, std::min(piece, values.size() - begin));
    auto [others, outside] = wide([&]() PLAIT_WIDE {
      int counted = 0, far = 0;
      for (float value : part) {
        counted += value != 0;
        far += (value > up) | (value < down);
      }
      return std::pair(counted, far);
    });
    within += weights.empty() ? others : 0;
    for (size_t i = 0; !weights.empty() && i < part.size(); ++i)
      within += part[i] != 0 ? double(weights[begin + i]) : 0;
    for (size_t i = 0; outside > 0; ++i)
      if (part[i] > up || part[i] < down) {
        clip(double(part[i]), weights.empty() ? 1 : double(weights[begin + i]));
        --outside;
      }
  }
  double lowest = std::numeric_limits<double>::infinity(), at = most;
  Clipped sum;
  for (int i = cells; i >= 0; --i) {
    sum.weight += clipped[i].weight;
    sum.ends += clipped[i].ends;
    sum.products += clipped[i].products;
    sum.squares += clipped[i].squares;
    double scale = least + step * i;
    double error = (within - sum.weight) * scale * scale / 12 + sum.squares -
                   2 * scale * sum.products + scale * scale * sum.ends;
    if (error <= lowest) {
      lowest = error;
      at = scale;
    }
  }
  return at;
}

void LinearFitter::fitOnGrid(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                             double least, double most, double symmetric, LinearFit &best) {
  constexpr int cells = 16;
  double top = std::max(most, symmetric) * 1.05, step = (top - least) / cells, at = best.scale;
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
  // With many integers the error of what is not clipped is that of rounding, and what a scale costs
  // can be told from what it clips; with few every cell is looked at.
  int halvings = 4;
  if (range_.high > 16) {
    look(most);
    look(expectedScale(values, weights, least, most));
    step /= 8;
    halvings = 2;
  } else {
    for (int i = 0; i <= cells; ++i)
      look(least + step * i);
  }
  for (int halving = 0; halving < halvings; ++halving) {
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
  auto lookAt = [&](size_t a, size_t b) {
    double scale = (high * ratios[b] - low * ratios[a]) / steps;
    float stored = rounded(scale);
    if (!(stored > 0))
      return;
    int zeroPoint = std::clamp(int(std::nearbyint(range_.low - low * ratios[a] / stored)),
                               range_.low, range_.high);
    if (a == 0 && b == 0) // what others take
      consider(values, weights, scale, zeroPoint, best);
    look(scale, zeroPoint);
  };
  // Both ends alike, then one more or less than the other.
  size_t alike = 0;
  for (size_t i = 0; i < ratios.size(); ++i) {
    double before = lowest;
    lookAt(i, i);
    if (lowest < before)
      alike = i;
  }
  for (size_t i = 0; i < ratios.size(); ++i)
    if (i != alike && i + 2 >= alike && i <= alike + 2) {
      lookAt(i, alike);
      lookAt(alike, i);
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

/// The least and the greatest of some numbers and zero.
static std::pair<float, float> boundsOf(llvm::ArrayRef<float> values) {
  constexpr size_t lanes = 32; // more than compilers unroll before they look for vectors
  float low[lanes] = {}, high[lanes] = {};
  size_t i = 0;
  for (; i + lanes <= values.size(); i += lanes)
    for (size_t lane = 0; lane < lanes; ++lane) {
      float value = values[i + lane];
      low[lane] = value < low[lane] ? value : low[lane];
      high[lane] = value > high[lane] ? value : high[lane];
    }
  for (size_t lane = 0; i < values.size(); ++i, ++lane) {
    low[lane] = std::min(low[lane], values[i]);
    high[lane] = std::max(high[lane], values[i]);
  }
  for (size_t half = lanes / 2; half > 0; half /= 2)
    for (size_t lane = 0; lane < half; ++lane) {
      low[lane] = std::min(low[lane], low[lane + half]);
      high[lane] = std::max(high[lane], high[lane + half]);
    }
  return {low[0], high[0]};
}

LinearFit LinearFitter::fit(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights) {
  auto [lowest, highest] = wide([&]() PLAIT_WIDE { return boundsOf(values); });
  double low = double(lowest), high = double(highest);
  // With any scale zeros are stored as zeros; 1 is one that no half makes zero.
  LinearFit best{1, range_.hasZeroPoint ? std::clamp(0, range_.low, range_.high) : 0, 0};
  if (low == 0 && high == 0)
    return best;
  best.error = std::numeric_limits<double>::infinity();
  // The smallest scale that clips nothing, and the one of -high to high, which others take.
  double most = std::max(high / range_.high, low / range_.low);
  double symmetric = std::max(high, -low) / range_.high;
  if (range_.hasZeroPoint) {
    fitZeroPoint(values, weights, low, high, best);
  } else {
    consider(values, weights, symmetric, 0, best);
    fitScale(values, weights, most, symmetric, best);
  }
  if (std::isinf(best.error)) // a scale that no half can hold
    best.error = errorAt(values, weights, best.scale, best.zeroPoint);
  return best;
}

void LinearFitter::fitScale(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                            double most, double symmetric, LinearFit &best) {
  // A smaller scale clips the largest number; below this bound that alone costs more.
  double lightest = 1;
  for (float weight : weights)
    lightest = std::min(lightest, double(weight));
  double allowed = lightest > 0 && std::isfinite(best.error) ? std::sqrt(best.error / lightest)
                                                             : most * range_.high;
  double least = std::max(most - allowed / range_.high, most / 64);
  double changes = 0;
  if (double(values.size()) < 4 * kMostChanges)
    for (size_t i = 0; i < values.size() && changes <= kMostChanges; ++i)
      changes += std::min(double(range_.high), std::fabs(double(values[i])) / least + 0.5);
  else
    changes = 2 * kMostChanges;
  if (changes <= kMostChanges) {
    consider(values, weights, most, 0, best);
    // A scale beyond that may be the best one of very few numbers.
    fitExactly(values, weights, least, most * (values.size() < 8 ? 1e3 : 1.5), best);
  } else {
    fitOnGrid(values, weights, least, most, symmetric, best);
  }
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

/// The nearest integers before products are rounded, and how many of them might be others after it:
/// `doubtful` is 1 for those.
static size_t guess(llvm::ArrayRef<float> values, float inverse, int zeroPoint, float low,
                    float high, float shift, float shiftOfOne, int8_t *out, uint8_t *doubtful) {
  int doubts = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    float q = values[i] * inverse;
    q = q < low ? low : q;
    q = q > high ? high : q;
    float integer = toInteger(q);
    out[i] = int8_t(int(integer) + zeroPoint);
    int doubt = std::fabs(q - integer) > 0.5F - shift - shiftOfOne * std::fabs(integer);
    doubtful[i] = uint8_t(doubt);
    doubts += doubt;
  }
  return size_t(doubts);
}

void LinearFitter::quantize(llvm::ArrayRef<float> values, const LinearFit &fit, int8_t *out,
                            float *stored) {
  constexpr size_t piece = 256;
  float table[256];
  uint8_t doubtful[piece];
  tabulate(range_, fit.scale, fit.zeroPoint, table);
  float inverse = 1 / fit.scale;
  auto low = float(range_.low - fit.zeroPoint), high = float(range_.high - fit.zeroPoint);
  // Rounding moves a product by 2^-11 of it at most, and the middle between two of them by as much;
  // where halves are subnormal, by any number of steps.
  float shiftOfOne = range_.halves ? 0x1p-11F : 0;
  float shift = range_.halves && fit.scale < 0x1p-14f ? 1.0F : 0.001F + shiftOfOne;
  for (size_t begin = 0; begin < values.size(); begin += piece) {
    llvm::ArrayRef<float> in = values.slice(begin, std::min(piece, values.size() - begin));
    int8_t *to = out + begin;
    size_t doubts = wide([&]() PLAIT_WIDE {
      return guess(in, inverse, fit.zeroPoint, low, high, shift, shiftOfOne, to, doubtful);
    });
    bool isUnsigned = range_.low >= 0;
    auto integerOf = [&](int8_t code) { return isUnsigned ? int(uint8_t(code)) : int(code); };
    for (size_t i = 0; doubts > 0; ++i)
      if (doubtful[i]) {
        to[i] = int8_t(nearest(in[i], integerOf(to[i]), range_, table));
        --doubts;
      }
    for (size_t i = 0; i < in.size(); ++i)
      stored[begin + i] = table[integerOf(to[i]) - range_.low];
  }
}

} // namespace plait::compress
