// Loops for wider registers give what the others give.
#include "compress/Wide.h"

#include "compress/VectorPalette.h"

#include "gtest/gtest.h"

#include <cmath>
#include <random>
#include <vector>

using namespace plait::compress;

TEST(Wide, NothingIsContractedOrReordered) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> a(1001), b(a.size()), c(a.size());
  for (size_t i = 0; i < a.size(); ++i)
    a[i] = normal(random), b[i] = normal(random), c[i] = -a[i] * b[i];
  auto body = [&]() PLAIT_WIDE {
    // a * b + c is 0 with two roundings, and what the first one took away with one.
    constexpr size_t lanes = 8;
    float sums[lanes] = {};
    for (size_t i = 0; i + lanes <= a.size(); i += lanes)
      for (size_t lane = 0; lane < lanes; ++lane)
        sums[lane] += std::fabs(a[i + lane] * b[i + lane] + c[i + lane]) + a[i + lane] * 0.1F;
    return std::vector<float>(sums, sums + lanes);
  };
  EXPECT_EQ(wide(body), body());
  float sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += wide([&]() PLAIT_WIDE { return std::fabs(a[i] * b[i] + c[i]); });
  EXPECT_EQ(sum, 0);
}

TEST(VectorPalette, EachOfManyVectorsHasItsNearestEntry) {
  // More than starts are compared on, and no multiple of what is looked at together.
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  constexpr size_t count = (1 << 15) + 77, dimension = 3, entries = 16;
  std::vector<float> vectors(count * dimension);
  for (float &value : vectors)
    value = normal(random);
  auto palette = llvm::cantFail(vectorPalette(vectors, dimension, entries, true, 2));
  ASSERT_EQ(palette.codes.size(), count);
  double error = 0, power = 0;
  for (size_t i = 0; i < count; ++i) {
    auto distance = [&](size_t code) {
      double sum = 0;
      for (size_t d = 0; d < dimension; ++d)
        sum += std::pow(
            double(vectors[i * dimension + d]) - double(palette.entries[code * dimension + d]), 2);
      return sum;
    };
    double own = distance(palette.codes[i]);
    for (size_t code = 0; code < entries; ++code)
      ASSERT_LE(own, distance(code) * (1 + 1e-5) + 1e-6);
    error += own;
    for (size_t d = 0; d < dimension; ++d)
      power += std::pow(double(vectors[i * dimension + d]), 2);
  }
  // Two entries along each axis and none besides, the cube, are at (1 - 2 / pi) of the power.
  EXPECT_LT(error / power, 0.3);
}
