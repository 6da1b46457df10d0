// Palettes against every other clustering of small sets, and what k-means may not do.
#include "compress/KMeans.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace plait::compress {

namespace {

double errorOf(llvm::ArrayRef<WeightedValue> points, llvm::ArrayRef<float> palette) {
  double error = 0;
  for (const WeightedValue &point : points) {
    double nearest = std::numeric_limits<double>::infinity();
    for (float entry : palette)
      nearest = std::min(nearest, std::fabs(double(entry) - point.value));
    error += point.weight * nearest * nearest;
  }
  return error;
}

/// Of all clusterings into runs the least error, by trying where the last run begins.
double bruteForce(llvm::ArrayRef<WeightedValue> points, unsigned clusters, bool halves) {
  if (points.empty())
    return 0;
  if (clusters == 0)
    return std::numeric_limits<double>::infinity();
  double best = std::numeric_limits<double>::infinity();
  for (size_t begin = 0; begin < points.size(); ++begin) {
    llvm::ArrayRef<WeightedValue> run = points.drop_front(begin);
    double weight = 0, sum = 0;
    for (const WeightedValue &point : run) {
      weight += point.weight;
      sum += point.weight * point.value;
    }
    double entry = halves ? roundedToHalf(sum / weight) : sum / weight;
    double error = 0;
    for (const WeightedValue &point : run)
      error += point.weight * (point.value - entry) * (point.value - entry);
    best = std::min(best, error + bruteForce(points.take_front(begin), clusters - 1, halves));
  }
  return best;
}

std::vector<WeightedValue> randomPoints(std::mt19937 &random, unsigned count, bool spread) {
  std::vector<float> values;
  while (values.size() < count) {
    float value = spread ? std::normal_distribution<float>()(random)
                         : float(int(random() % 40)) / 8; // many equal distances
    value = float(roundedToHalf(value));
    if (std::find(values.begin(), values.end(), value) == values.end())
      values.push_back(value);
  }
  std::sort(values.begin(), values.end());
  std::vector<WeightedValue> points;
  for (float value : values)
    points.push_back({value, spread ? double(1 + random() % 9) : 1});
  return points;
}

} // namespace

TEST(KMeans, NoClusteringIsBetter) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    unsigned count = 2 + random() % 10, entries = 1 + random() % 5;
    bool halves = round % 2, spread = round % 3;
    auto points = randomPoints(random, count, spread);
    auto palette = optimalPalette(points, entries, halves);
    ASSERT_EQ(palette.size(), entries);
    EXPECT_TRUE(std::is_sorted(palette.begin(), palette.end()));
    double least = bruteForce(points, entries, halves);
    EXPECT_NEAR(errorOf(points, palette), least, 1e-9 * (1 + least))
        << count << " points, " << entries << " entries, round " << round;
  }
}

TEST(KMeans, LargeSetsAreNoWorseThanLloydFromManyStarts) {
  std::mt19937 random(2);
  auto points = randomPoints(random, 3000, true);
  for (unsigned entries : {2u, 8u, 16u, 64u, 256u}) {
    double found = errorOf(points, optimalPalette(points, entries, false));
    for (int start = 0; start < 5; ++start) {
      std::vector<float> centres;
      for (unsigned i = 0; i < entries; ++i)
        centres.push_back(float(points[random() % points.size()].value));
      for (int step = 0; step < 40; ++step) {
        std::sort(centres.begin(), centres.end());
        std::vector<double> sums(entries), weights(entries);
        for (const WeightedValue &point : points) {
          size_t at = size_t(std::min_element(centres.begin(), centres.end(),
                                              [&](float a, float b) {
                                                return std::fabs(a - point.value) <
                                                       std::fabs(b - point.value);
                                              }) -
                             centres.begin());
          sums[at] += point.weight * point.value;
          weights[at] += point.weight;
        }
        for (unsigned i = 0; i < entries; ++i)
          if (weights[i] > 0)
            centres[i] = float(sums[i] / weights[i]);
      }
      EXPECT_LE(found, errorOf(points, centres) * (1 + 1e-6)) << entries;
    }
  }
}

TEST(KMeans, WhereTheSearchBeginsChangesNothing) {
  std::mt19937 random(3);
  auto points = randomPoints(random, 500, true);
  auto expected = optimalPalette(points, 16, true);
  for (double start : {1e-9, 0.01, 0.7, 5.0, 1e9}) {
    double price = start;
    EXPECT_EQ(optimalPalette(points, 16, true, &price), expected) << start;
  }
}

TEST(KMeans, FewPointsAreTheirOwnEntries) {
  WeightedValue points[] = {{-1, 3}, {0, 1}, {2.5, 1}};
  EXPECT_EQ(optimalPalette(points, 4, true), (std::vector<float>{-1, 0, 2.5, 2.5}));
  EXPECT_EQ(optimalPalette(llvm::ArrayRef(points).take_front(1), 2, true),
            (std::vector<float>{-1, -1}));
  EXPECT_EQ(optimalPalette(points, 3, true), (std::vector<float>{-1, 0, 2.5}));
}

TEST(KMeans, EqualDistancesHaveManyOptima) {
  // For every number of clusters some prices have optima of fewer and of more only.
  std::vector<WeightedValue> points;
  for (int i = 0; i < 255; ++i)
    points.push_back({double(i), 1});
  for (unsigned entries : {2u, 3u, 16u, 64u, 100u, 254u}) {
    unsigned small = 255 / entries, larger = 255 % entries;
    auto error = [](double n) { return (n * n * n - n) / 12; };
    EXPECT_NEAR(errorOf(points, optimalPalette(points, entries, false)),
                error(small + 1) * larger + error(small) * (entries - larger), 1e-6)
        << entries;
  }
}

TEST(KMeans, RoundsToTheNearestHalf) {
  EXPECT_EQ(roundedToHalf(1 + 0x1p-11), 1);                     // a tie, to the even one
  EXPECT_EQ(roundedToHalf(1 + 0x1p-11 + 0x1p-40), 1 + 0x1p-10); // not twice
  EXPECT_EQ(roundedToHalf(0x1p-25), 0);
  EXPECT_EQ(roundedToHalf(0x1.8p-25), 0x1p-24);
  EXPECT_EQ(roundedToHalf(-65504), -65504);
}

} // namespace plait::compress
