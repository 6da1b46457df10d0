// Scales against all others of half precision, zero points, and numbers that vanish.
#include "compress/Linear.h"

#include "compress/KMeans.h"
#include "support/Half.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace plait::compress {

namespace {

std::vector<float> randomHalves(std::mt19937 &random, size_t count, float spread) {
  std::vector<float> values(count);
  for (float &value : values)
    value = float(roundedToHalf(std::normal_distribution<float>(0, spread)(random)));
  return values;
}

/// The least error with a scale, whatever the integers.
double errorOf(llvm::ArrayRef<float> values, const LinearRange &range, float scale, int zeroPoint) {
  double error = 0;
  for (float value : values) {
    double least = std::numeric_limits<double>::infinity();
    for (int q = range.low; q <= range.high; ++q) {
      double off = roundedToHalf(double(scale) * (q - zeroPoint)) - double(value);
      least = std::min(least, off * off);
    }
    error += least;
  }
  return error;
}

} // namespace

TEST(Linear, NoOtherScaleOfABlockIsBetter) {
  std::mt19937 random(1);
  LinearRange range{-8, 7, false, true};
  LinearFitter fitter(range);
  for (int round = 0; round < 20; ++round) {
    auto values = randomHalves(random, 4 + random() % 29, 0.02f);
    if (round % 4 == 0)
      values[0] *= 8; // one that is far out
    LinearFit fit = fitter.fit(values);
    EXPECT_NEAR(fit.error, errorOf(values, range, fit.scale, 0), 1e-12);
    double least = std::numeric_limits<double>::infinity();
    for (unsigned bits = 1; bits < 0x3C00; ++bits) // every half below 1
      least = std::min(least, errorOf(values, range, halfToFloat(uint16_t(bits)), 0));
    // Products are rounded to half, which no parabola knows.
    EXPECT_LE(fit.error, least * (1 + 2e-2)) << round;
  }
}

TEST(Linear, LongRunsAreNoWorseThanTheRange) {
  std::mt19937 random(2);
  for (LinearRange range : {LinearRange{-128, 127, false, true}, LinearRange{-8, 7, false, true},
                            LinearRange{-128, 127, false, false}}) {
    LinearFitter fitter(range);
    auto values = randomHalves(random, 4096, 0.05f);
    LinearFit fit = fitter.fit(values);
    float largest = 0;
    for (float value : values)
      largest = std::max(largest, std::fabs(value));
    auto others = float(range.halves ? roundedToHalf(largest / range.high) : largest / range.high);
    EXPECT_LE(fit.error,
              errorOf(values, LinearRange{-range.high, range.high, false, true}, others, 0));
    std::vector<int8_t> integers(values.size());
    std::vector<float> stored(values.size());
    fitter.quantize(values, fit, integers.data(), stored.data());
    double error = 0;
    for (size_t i = 0; i < values.size(); ++i)
      error += (double(values[i]) - stored[i]) * (double(values[i]) - stored[i]);
    EXPECT_NEAR(error, fit.error, 1e-9 * error);
  }
}

TEST(Linear, ZeroPointsServeNumbersOfOneSign) {
  std::mt19937 random(3);
  LinearFitter with(LinearRange{0, 15, true, true}), without(LinearRange{-8, 7, false, true});
  auto values = randomHalves(random, 64, 1);
  for (float &value : values)
    value = std::fabs(value);
  LinearFit fit = with.fit(values);
  EXPECT_LT(fit.error, without.fit(values).error);
  EXPECT_EQ(fit.zeroPoint, 0);
  for (float &value : values)
    value = -value;
  EXPECT_EQ(with.fit(values).zeroPoint, 15);
}

TEST(Linear, ZerosHaveAScaleOfOne) {
  float zeros[5] = {};
  for (bool hasZeroPoint : {false, true}) {
    LinearFit fit =
        LinearFitter({hasZeroPoint ? 0 : -8, hasZeroPoint ? 15 : 7, hasZeroPoint, true}).fit(zeros);
    EXPECT_EQ(fit.scale, 1);
    EXPECT_EQ(fit.error, 0);
  }
}

TEST(Linear, ScalesDoNotVanish) {
  // A hundredth of the smallest half would be the scale.
  std::vector<float> values;
  for (int i = -6; i <= 6; ++i)
    values.push_back(float(i) * 0x1p-24f);
  LinearFit fit = LinearFitter({-128, 127, false, true}).fit(values);
  EXPECT_EQ(fit.scale, 0x1p-24f);
  EXPECT_EQ(fit.error, 0);
}

} // namespace plait::compress
