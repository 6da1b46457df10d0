// Sums over what weights are multiplied with, whatever axis the channels lie along.
#include "compress/Activations.h"
#include "compress/Guided.h"

#include "support/Half.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace plait::compress {

using namespace mil;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

TensorData halves(llvm::ArrayRef<int64_t> shape, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint16_t> values(size_t(mil::numElements(shape)));
  for (uint16_t &value : values)
    value = floatToHalf(std::normal_distribution<float>(0, 1)(random));
  return TensorData::from<uint16_t>(DType::F16, shape, values);
}

} // namespace

TEST(InputSums, FollowTheAxis) {
  TensorData lastAxis = TensorData::from<float>(DType::F32, {2, 2}, {1, 2, 3, 0});
  InputSums last(2, true);
  ASSERT_FALSE(bool(last.add(lastAxis, {nullptr, 1}, 1)));
  EXPECT_THAT(last.importance(), ElementsAre(2 * 10 / 14.F, 2 * 4 / 14.F));
  EXPECT_THAT(last.products().vec(), ElementsAre(10, 2, 2, 4));
  EXPECT_EQ(last.seen(), 2);
  // The same numbers the other way round.
  InputSums first(2, true);
  TensorData firstAxis = TensorData::from<float>(DType::F32, {2, 2}, {1, 3, 2, 0});
  ASSERT_FALSE(bool(first.add(firstAxis, {nullptr, 0}, 1)));
  EXPECT_EQ(first.products(), last.products());
  // Of a convolution in two groups: channels 0 and 2 are the first input of a group each.
  InputSums groups(2, true);
  TensorData image = TensorData::from<float>(DType::F32, {1, 4, 1, 1}, {1, 2, 3, 0});
  ASSERT_FALSE(bool(groups.add(image, {nullptr, 1, 2, false}, 1)));
  EXPECT_EQ(groups.importance(), last.importance());
  EXPECT_TRUE(groups.products().empty()); // its outputs are sums over places too
}

TEST(InputSums, NothingSeenAndNothingFinite) {
  InputSums sums(2, false);
  EXPECT_EQ(sums.seen(), 0);
  EXPECT_THAT(sums.importance(), ElementsAre(1, 1));
  TensorData odd = TensorData::from<float>(DType::F32, {1, 2}, {INFINITY, 3});
  ASSERT_FALSE(bool(sums.add(odd, {nullptr, 1}, 1)));
  EXPECT_THAT(sums.importance(), ElementsAre(0, 2));
  EXPECT_THAT(llvm::toString(sums.add(odd, {nullptr, 0}, 1)), HasSubstr("of 2 inputs"));
}

TEST(InputSums, OfWhatIsAlsoLookedUp) {
  // An embedding that is also the head: half of what counts are the numbers themselves.
  InputSums sums(2, true, true);
  ASSERT_FALSE(
      bool(sums.add(TensorData::from<float>(DType::F32, {2, 2}, {1, 2, 3, 0}), {nullptr, 1}, 1)));
  EXPECT_THAT(sums.importance(), ElementsAre((1 + 2 * 10 / 14.0F) / 2, (1 + 2 * 4 / 14.0F) / 2));
  EXPECT_TRUE(sums.products().empty());
  EXPECT_EQ(sums.seen(), 2);
}

TEST(Guided, ErrorsOfLargeInputsAreSmaller) {
  TensorData weight = halves({32, 64}, 1);
  std::vector<float> scales(64, 0.1F);
  scales[5] = scales[40] = 10;
  InputSums sums(64, true);
  std::mt19937 random(2);
  std::vector<float> inputs;
  for (int i = 0; i < 200 * 64; ++i)
    inputs.push_back(std::normal_distribution<float>(0, scales[size_t(i) % 64])(random));
  ASSERT_FALSE(
      bool(sums.add(TensorData::from<float>(DType::F32, {200, 64}, inputs), {nullptr, 1}, 2)));
  for (const char *scheme : {"palette3[channel]", "palette2[group 16]", "int4[channel]", "uint4"}) {
    auto by = [&](Guidance guidance, unsigned threads = 1) {
      CompressorOptions options;
      options.threads = threads;
      options.target = testing::TempDir() + "x.mlpackage";
      auto outcome =
          compressGuided(weight, {0, 1}, llvm::cantFail(parseScheme(scheme)), options, guidance);
      return llvm::cantFail(std::move(outcome));
    };
    // What the plain one is to the inputs, by the guided one's measure.
    GuidedOutcome guided = by({&sums, false}), rounded = by({&sums, true}), plain = by({});
    EXPECT_LT(guided.error / guided.power, 0.7 * plain.error / plain.power) << scheme;
    EXPECT_GE(guided.compressed->error, plain.compressed->error) << scheme;
    EXPECT_THAT(rounded.compressed->note, HasSubstr("GPTQ"));
    GuidedOutcome threads = by({&sums, true}, 3);
    EXPECT_EQ(llvm::cantFail(threads.compressed->data.bytes()),
              llvm::cantFail(rounded.compressed->data.bytes()));
  }
}

} // namespace plait::compress
