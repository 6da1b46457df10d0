// Exact fits of blocks, grids for longer runs, zero points.
#include "compress/Linear.h"

#include "compress/KMeans.h"
#include "compress/Wide.h"
#include "support/Half.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace plait::compress {

/// Blocks with more changes than this are searched on a grid.
static constexpr float kMostChanges = 256;
/// Scales that are tried together.
static constexpr size_t kLanes = 8;

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
/// or two.
template <bool ToHalf>
static double errorOf(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights, float step,
                      float inverse, float low, float high) {
  constexpr size_t lanes = 8, piece = 256;
  double squares[piece];
  double error = 0;
  for (size_t begin = 0; begin < values.size(); begin += piece) {
    size_t count = std::min(piece, values.size() - begin);
    const float *in = values.data() + begin;
    for (size_t i = 0; i < count; ++i) {
      float q = in[i] * inverse;
      q = q < low ? low : q;
      q = q > high ? high : q;
      float stored = toInteger(q) * step;
      double off = in[i] - (ToHalf ? toHalf(stored) : stored);
      squares[i] = off * off;
    }
    if (!weights.empty())
      for (size_t i = 0; i < count; ++i)
        squares[i] *= double(weights[begin + i]);
    double sums[lanes] = {};
    size_t i = 0;
    for (; i + lanes <= count; i += lanes)
      for (size_t lane = 0; lane < lanes; ++lane)
        sums[lane] += squares[i + lane];
    for (; i < count; ++i)
      sums[0] += squares[i];
    for (double sum : sums)
      error += sum;
  }
  return error;
}

double LinearFitter::errorAt(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                             float scale, int zeroPoint) const {
  auto low = float(range_.low - zeroPoint), high = float(range_.high - zeroPoint);
  float inverse = 1 / scale;
  return wide([&]() PLAIT_WIDE {
    return range_.halves ? errorOf<true>(values, weights, scale, inverse, low, high)
                         : errorOf<false>(values, weights, scale, inverse, low, high);
  });
}

namespace {

/// Scales and zero points that are tried together, and the error of each without the rounding of
/// products. What compilers take vectors for is the next one, not the next number.
class Trials {
public:
  explicit Trials(const LinearRange &range) : range_(range) {}

  void add(double scale, int zeroPoint) {
    assert(count_ < kMost && "as many as there is room for");
    if (!(scale > 0) || zeroPoint < range_.low || zeroPoint > range_.high)
      return;
    scales_[count_] = float(scale);
    inverses_[count_] = float(1 / scale);
    lows_[count_] = float(range_.low - zeroPoint);
    highs_[count_] = float(range_.high - zeroPoint);
    zeroPoints_[count_++] = zeroPoint;
  }
  size_t count() const { return count_; }
  double scale(size_t i) const { return double(scales_[i]); }
  int zeroPoint(size_t i) const { return zeroPoints_[i]; }
  double error(size_t i) const { return errors_[i]; }
  /// The number of the best one, the first of those as good; there is one at least.
  size_t best(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights) {
    size_t room = llvm::alignTo(count_, kLanes);
    for (size_t i = count_; i < room; ++i) {
      scales_[i] = scales_[0];
      inverses_[i] = inverses_[0];
      lows_[i] = lows_[0];
      highs_[i] = highs_[0];
    }
    std::fill_n(errors_, room, 0.0);
    wide([&]() PLAIT_WIDE { errorsOfAll(values, weights, room); });
    return size_t(std::min_element(errors_, errors_ + count_) - errors_);
  }

private:
  static constexpr size_t kMost = 32, kPiece = 256;

  PLAIT_WIDE void errorsOfAll(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                              size_t room) {
    room -= room % kLanes; // for compilers
    for (size_t begin = 0; begin < values.size(); begin += kPiece) {
      float sums[kMost] = {};
      size_t end = std::min(values.size(), begin + kPiece);
      for (size_t i = begin; i < end; ++i) {
        float value = values[i], weight = weights.empty() ? 1 : weights[i];
        for (size_t k = 0; k < room; ++k) {
          float q = value * inverses_[k];
          q = q < lows_[k] ? lows_[k] : q;
          q = q > highs_[k] ? highs_[k] : q;
          float off = value - toInteger(q) * scales_[k];
          sums[k] += off * off * weight;
        }
      }
      for (size_t k = 0; k < room; ++k)
        errors_[k] += double(sums[k]);
    }
  }

  const LinearRange range_;
  size_t count_ = 0;
  float scales_[kMost], inverses_[kMost], lows_[kMost], highs_[kMost];
  int zeroPoints_[kMost];
  double errors_[kMost];
};

} // namespace

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

/// What a number is at the largest of some scales, and how many other integers it becomes towards
/// the smallest.
static float countChanges(llvm::ArrayRef<float> values, float first, float last, float down,
                          float up, float *limits, float *steps, float *counts, float *inverses) {
  float sums[8] = {};
  for (size_t i = 0; i < values.size(); ++i) {
    // Just beyond the middle of two integers it is the larger one.
    constexpr float beyond = 1 + 0x1p-21f;
    float magnitude = std::fabs(values[i]), limit = values[i] < 0 ? down : up;
    float from = toInteger(magnitude * first), to = toInteger(magnitude * last);
    from = from > limit ? limit : from;
    to = to > limit ? limit : to;
    limits[i] = limit;
    steps[i] = from + 0.5F;
    counts[i] = to - from;
    inverses[i] = magnitude > 0 ? beyond / magnitude : 0;
  }
  size_t i = 0;
  for (; i + 8 <= values.size(); i += 8)
    for (size_t lane = 0; lane < 8; ++lane)
      sums[lane] += counts[i + lane];
  for (; i < values.size(); ++i)
    sums[0] += counts[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/// For each of some scales, by their inverses: sums over the numbers of value * q and of q * q, q
/// the nearest integer. `count` is a multiple of kLanes.
static void momentsOfAll(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                         const float *limits, const float *inverses, size_t count, float *products,
                         float *squares) {
  count -= count % kLanes; // for compilers
  for (size_t k = 0; k < count; ++k)
    products[k] = squares[k] = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    float value = std::fabs(values[i]), limit = limits[i];
    if (weights.empty()) {
      for (size_t k = 0; k < count; ++k) {
        float q = toInteger(value * inverses[k]);
        q = q > limit ? limit : q;
        products[k] += value * q;
        squares[k] += q * q;
      }
      continue;
    }
    float weight = weights[i], heavy = value * weight;
    for (size_t k = 0; k < count; ++k) {
      float q = toInteger(value * inverses[k]);
      q = q > limit ? limit : q;
      products[k] += heavy * q;
      squares[k] += weight * q * q;
    }
  }
}

bool LinearFitter::fitExactly(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                              double least, double most, LinearFit &best) {
  auto first = float(1 / most), last = float(1 / least);
  for (auto *each : {&limits_, &steps_, &counts_, &inverses_})
    each->resize(values.size());
  float changes = wide([&]() PLAIT_WIDE {
    return countChanges(values, first, last, float(-range_.low), float(range_.high), limits_.data(),
                        steps_.data(), counts_.data(), inverses_.data());
  });
  if (!(changes <= kMostChanges))
    return false;
  // The largest scale, and all at which an integer changes.
  size_t room = size_t(changes) + 1 + 2 * kLanes;
  for (auto *each : {&scales_, &products_, &squares_})
    each->resize(std::max(each->size(), room));
  scales_[0] = first;
  size_t count = wide([&]() PLAIT_WIDE {
    constexpr float offsets[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7};
    float *to = scales_.data() + 1;
    for (size_t i = 0; i < values.size(); ++i) {
      float number = counts_[i], inverse = inverses_[i], step = steps_[i];
      float *out = to;
      for (float left = number;; left -= kLanes) { // most often once; the next one writes over
        for (size_t lane = 0; lane < kLanes; ++lane)
          out[lane] = (step + offsets[lane]) * inverse;
        if (left <= kLanes)
          break;
        out += kLanes;
        step += kLanes;
      }
      to += int(number);
    }
    return size_t(to - scales_.data());
  });
  std::fill_n(scales_.begin() + count, kLanes, first);
  wide([&]() PLAIT_WIDE {
    momentsOfAll(values, weights, limits_.data(), scales_.data(), llvm::alignTo(count, kLanes),
                 products_.data(), squares_.data());
    for (size_t i = 0; i < count; ++i)
      squares_[i] = squares_[i] > 0 ? products_[i] * products_[i] / squares_[i] : 0;
  });
  // The lowest point of a parabola is products / squares, where products^2 / squares is less of
  // the error.
  size_t lowest = 0;
  for (size_t i = 1; i < count; ++i)
    lowest = squares_[i] > squares_[lowest] ? i : lowest;
  if (squares_[lowest] > 0)
    consider(values, weights, squares_[lowest] / products_[lowest], 0, best);
  return true;
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
  double top = std::max(most, symmetric) * 1.05, step = (top - least) / cells;
  Trials coarse(range_), fine(range_);
  coarse.add(best.scale, 0);
  coarse.add(most, 0);
  // With many integers the error of what is not clipped is that of rounding, and what a scale costs
  // can be told from what it clips; with few every cell is looked at.
  if (range_.high > 16) {
    step /= 8;
    double expected = expectedScale(values, weights, least, most);
    for (int i = -3; i <= 2; ++i)
      coarse.add(expected + step * i / 2, 0);
  } else {
    for (int i = 0; i <= cells; ++i)
      coarse.add(least + step * i, 0);
  }
  double middle = coarse.scale(coarse.best(values, weights));
  step /= range_.high > 16 ? 8 : 4;
  for (int i = -3; i <= 4; ++i)
    fine.add(middle + step * i, 0);
  double at = fine.scale(fine.best(values, weights));
  consider(values, weights, at, 0, best);
  if (range_.high <= 16)
    consider(values, weights, leastSquares(values, weights, at, 0), 0, best);
}

void LinearFitter::fitZeroPoint(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights,
                                double low, double high, LinearFit &best) {
  low = std::min(low, 0.0);
  high = std::max(high, 0.0);
  int steps = range_.high - range_.low;
  // Clipping hardly pays with 256 integers.
  const double finest[] = {1, 0.98, 0.96}, coarse[] = {1, 0.94, 0.88, 0.82, 0.76, 0.7};
  llvm::ArrayRef<double> ratios = steps > 15 ? llvm::ArrayRef(finest) : llvm::ArrayRef(coarse);
  Trials first(range_), second(range_);
  for (size_t a = 0; a < ratios.size(); ++a)
    for (size_t b = 0; b < ratios.size(); ++b) {
      if (a > b + 1 || b > a + 1) // both ends nearly alike
        continue;
      double scale = (high * ratios[b] - low * ratios[a]) / steps;
      if (a == 0 && b == 0) // what others take: a zero point for the scale that is stored
        scale = rounded(scale);
      if (!(scale > 0))
        continue;
      int zeroPoint = range_.low + std::min(steps, int(toInteger(float(-low * ratios[a] / scale))));
      if (a == 0 && b == 0)
        consider(values, weights, scale, zeroPoint, best);
      first.add(scale, zeroPoint);
    }
  if (first.count() == 0)
    return;
  size_t found = first.best(values, weights);
  double step = first.scale(found) * (steps > 15 ? 0.004 : 0.015);
  for (int zeroPoint : {0, -1, 1})
    for (int i = -2; i <= 2; ++i)
      second.add(first.scale(found) + step * i, first.zeroPoint(found) + zeroPoint);
  found = second.best(values, weights);
  double scale = second.scale(found);
  int zeroPoint = second.zeroPoint(found);
  consider(values, weights, scale, zeroPoint, best);
  consider(values, weights, leastSquares(values, weights, scale, zeroPoint), zeroPoint, best);
}

/// The least and the greatest of some numbers and zero. As integers that order them alike, since
/// compilers take vectors for those.
static std::pair<float, float> boundsOf(llvm::ArrayRef<float> values) {
  int32_t low = 0, high = 0;
  for (float value : values) {
    auto bits = llvm::bit_cast<int32_t>(value);
    int32_t key = bits < 0 ? bits ^ 0x7FFFFFFF : bits;
    low = key < low ? key : low;
    high = key > high ? key : high;
  }
  return {llvm::bit_cast<float>(low < 0 ? low ^ 0x7FFFFFFF : 0), llvm::bit_cast<float>(high)};
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
  // A scale beyond the one that clips nothing may be the best one of very few numbers.
  if (double(values.size()) < 4 * kMostChanges &&
      fitExactly(values, weights, least, most * (values.size() < 8 ? 1e3 : 1.5), best))
    return;
  fitOnGrid(values, weights, least, most, symmetric, best);
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
