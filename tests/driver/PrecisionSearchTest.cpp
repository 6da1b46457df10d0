// The search for what has to be in fp32, on made-up noise; and what becomes of a recipe.
#include "driver/PrecisionSearch.h"
#include "driver/RecipeEdit.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <cmath>

using namespace plait;
using namespace plait::driver;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

/// Each unit in fp16 adds its own noise to one of two outputs.
MeasureNoise adding(std::vector<double> noise) {
  return [=](const std::vector<bool> &wide) -> Expected<std::vector<double>> {
    std::vector<double> total(2, 1e-9);
    for (size_t i = 0; i < noise.size(); ++i)
      total[i % 2] += wide[i] ? 0 : noise[i];
    return total;
  };
}

std::vector<unsigned> unitsOf(const PrecisionSearch &found) {
  std::vector<unsigned> units;
  for (const PrecisionSearch::Kept &kept : found.kept)
    units.push_back(kept.unit);
  return units;
}

TEST(PrecisionSearch, TakesWhatDoesMostAndNoMore) {
  std::vector<double> noise(200, 1e-8);
  noise[17] = noise[18] = INFINITY;
  noise[101] = 1e-2;
  noise[60] = 4e-6; // with the rest, this is within the bar
  auto found = searchPrecision(200, 1e-5, adding(noise));
  ASSERT_TRUE(bool(found)) << toString(found.takeError());
  EXPECT_THAT(unitsOf(*found), ElementsAre(17, 18, 101));
  EXPECT_TRUE(std::isinf(found->before));
  EXPECT_LE(found->after, 1e-5);
  EXPECT_TRUE(std::isinf(found->kept[0].without));
  EXPECT_NEAR(found->kept[2].without, 1e-2, 1e-4);
  EXPECT_LT(found->trials, 60u);
}

TEST(PrecisionSearch, NothingWhereNothingIsNeeded) {
  auto found = searchPrecision(50, 1e-5, adding(std::vector<double>(50, 1e-8)));
  ASSERT_TRUE(bool(found)) << toString(found.takeError());
  EXPECT_THAT(found->kept, testing::IsEmpty());
  EXPECT_EQ(found->trials, 1u);
}

TEST(PrecisionSearch, ErrorsThatAddUpInAWorseWay) {
  // Amplitudes add: each alone is far below the bar, together they are above it.
  auto measure = [](const std::vector<bool> &wide) -> Expected<std::vector<double>> {
    double amplitude = 0;
    for (bool one : wide)
      amplitude += one ? 0 : 2e-4;
    return std::vector<double>{amplitude * amplitude};
  };
  auto found = searchPrecision(40, 1e-5, measure);
  ASSERT_TRUE(bool(found)) << toString(found.takeError());
  EXPECT_EQ(found->kept.size(), 25u); // 15 * 2e-4 is 3e-3, whose square is 9e-6
}

TEST(PrecisionSearch, SaysWhereFp32DoesNotReachIt) {
  auto measure = [](const std::vector<bool> &) -> Expected<std::vector<double>> {
    return std::vector<double>{1e-3};
  };
  auto found = searchPrecision(4, 1e-5, measure);
  ASSERT_FALSE(bool(found));
  EXPECT_THAT(toString(found.takeError()), HasSubstr("reach 30.0 dB"));
}

TEST(RecipeEdit, KeepsWhatAPersonWrote) {
  PrecisionReport choice;
  choice.kept = {{"square at norm", 1, -INFINITY}, {"x_1", 1, 31.26}};
  auto text = withChoice("# two heads\nprecision: auto  # for now\nkeep_fp32:\n  - softmax\n"
                         "functions:\n  a: {model: a.pt}\n# end\nmin_snr: 60\n",
                         {"softmax"}, choice);
  ASSERT_TRUE(bool(text)) << toString(text.takeError());
  EXPECT_EQ(*text, "# two heads\nfunctions:\n  a: {model: a.pt}\n# end\nprecision: fp16\n"
                   "keep_fp32:\n  - 'softmax'\n  - 'square at norm'  # an overflow without\n"
                   "  - 'x_1'  # 31.3 dB without\n");
  EXPECT_THAT(toString(withChoice("{model: a.pt}", {}, choice).takeError()), HasSubstr("braces"));
}

} // namespace
