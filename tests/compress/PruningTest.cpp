// Which numbers of a group go, against sorting them.
#include "compress/Pruning.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

using namespace plait::compress;

/// The definition: by magnitude, equal ones in their order; of a rest in proportion.
static std::vector<uint8_t> sorted(const std::vector<float> &values, size_t zeros, size_t of) {
  std::vector<uint8_t> keep(values.size(), 1);
  for (size_t begin = 0; begin < values.size(); begin += of) {
    size_t size = std::min(of, values.size() - begin);
    std::vector<size_t> order(size);
    std::iota(order.begin(), order.end(), begin);
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return std::fabs(values[a]) < std::fabs(values[b]);
    });
    for (size_t i = 0; i < zeros * size / of; ++i)
      keep[order[i]] = 0;
  }
  return keep;
}

TEST(Pruning, GroupsLoseTheirSmallest) {
  std::mt19937 random(1);
  for (auto [zeros, of] : {std::pair(2, 4), {1, 2}, {5, 16}, {9, 17}, {30, 40}, {1023, 1024}})
    for (int length : {1, 3, 64, 1500}) {
      std::vector<float> values(size_t(length), 0);
      for (float &value : values) // few different ones, of both signs
        value = float(int(random() % 9) - 4);
      std::vector<uint8_t> keep(values.size(), 7);
      pruneRun(values.data(), length, 1, unsigned(zeros), unsigned(of), keep.data());
      EXPECT_EQ(keep, sorted(values, size_t(zeros), size_t(of))) << zeros << ":" << of;
    }
}

TEST(Pruning, NumbersMayLieApart) {
  const float values[] = {4, 0, 1, 0, -3, 0, 2, 0};
  uint8_t keep[8] = {9, 9, 9, 9, 9, 9, 9, 9};
  pruneRun(values, 4, 2, 2, 4, keep);
  EXPECT_EQ(std::vector<uint8_t>(keep, keep + 8), (std::vector<uint8_t>{1, 9, 0, 9, 1, 9, 0, 9}));
}

TEST(Pruning, TheLimitLeavesAsManyAsAsked) {
  const uint16_t halves[] = {0x3C00, 0xBC00, 0x0001, 0x8000, 0x4000, 0x3C00}; // 1 -1 2^-24 -0 2 1
  std::vector<uint32_t> magnitudes;
  for (uint16_t half : halves)
    magnitudes.push_back(magnitudeOfHalf(half));
  PruneCounter counter;
  counter.add(magnitudes, std::nullopt);
  int64_t number = 4;
  EXPECT_EQ(counter.digitOf(number) << 16, magnitudeOfHalf(0x3C00));
  EXPECT_EQ(number, 2); // of the three ones two go
  std::vector<uint8_t> keep(magnitudes.size(), 7);
  PruneLimit limit{magnitudeOfHalf(0x3C00), number};
  limit.mark(magnitudes, keep.data());
  EXPECT_EQ(keep, (std::vector<uint8_t>{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(limit.equal, 0);
  EXPECT_LT(magnitudeOf(-1.5F), magnitudeOf(2.0F));
}
