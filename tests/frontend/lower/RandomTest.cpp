// Random operations: shape and element type as LibTorch's, values from the same distribution. Those
// that training alone needs are refused.
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

namespace plait::frontend {

namespace {

struct Moments {
  double mean, deviation, low, high; ///< low and high leave 2% of the values outside each
};

Moments moments(const at::Tensor &tensor) {
  at::Tensor x = tensor.to(at::kDouble).flatten();
  return {x.mean().item<double>(), x.std().item<double>(), x.quantile(0.02).item<double>(),
          x.quantile(0.98).item<double>()};
}

/// The lowered program's samples and LibTorch's agree in moments; 4096 of them. Both are drawn anew
/// in each run: bounds are five standard errors and more, and extremes, which have none, stay out.
void sameDistribution(const std::string &source, std::vector<at::Tensor> inputs) {
  SCOPED_TRACE(source);
  auto [ours, theirs] = outputs(source, std::move(inputs));
  ASSERT_TRUE(ours.defined() && theirs.defined());
  EXPECT_EQ(ours.sizes(), theirs.sizes());
  Moments a = moments(ours), b = moments(theirs);
  double scale = std::max(b.deviation, 0.1);
  EXPECT_NEAR(a.mean, b.mean, 0.12 * scale);
  EXPECT_NEAR(a.deviation, b.deviation, 0.12 * scale);
  EXPECT_NEAR(a.low, b.low, 0.5 * scale);
  EXPECT_NEAR(a.high, b.high, 0.5 * scale);
}

} // namespace

TEST(Random, Distributions) {
  at::Tensor x = rand({64, 64}, 0.2, 0.8);
  for (const char *source :
       {"torch.rand(64, 64)", "torch.randn(64, 64)", "torch.rand_like(x)", "torch.randn_like(x)",
        "torch.randint(3, 9, [64, 64])", "torch.randint(9, [64, 64])", "torch.randint_like(x, 9)",
        "torch.randint_like(x, 3, 9)", "torch.bernoulli(x)", "torch.bernoulli(x, 0.3)",
        "torch.normal(x, 2.0)", "torch.normal(x, x)", "torch.normal(1.0, x)",
        "torch.uniform(x, -1.0, 2.0)", "torch.empty(64, 64).uniform_(-1.0, 2.0)",
        "torch.zeros(64, 64).bernoulli_(0.3)"})
    sameDistribution(source, {x});
}

TEST(Random, DrawsAreOfTheKindAsked) {
  auto [bits, theirs] = outputs("torch.bernoulli(x, 0.5)", {rand({32, 32})});
  EXPECT_TRUE(at::logical_or(bits == 0, bits == 1).all().item<bool>());
  auto [numbers, others] = outputs("torch.randint(3, 6, [32, 32])", {rand({2})});
  EXPECT_TRUE(at::logical_and(numbers >= 3, numbers < 6).all().item<bool>());
  EXPECT_TRUE(at::equal(numbers, numbers.round()));
}

TEST(Random, ClassesAreDrawnWithoutReplacement) {
  // Which classes come first, second and third, as one number: all their orders' frequencies.
  at::Tensor weights = floats({0.5, 0, 3, 1, 0.25}).expand({4096, 5});
  sameDistribution("torch.multinomial(x, 3)", {weights});
  sameDistribution("(torch.multinomial(x, 3) * torch.tensor([25, 5, 1])).sum(-1)", {weights});
  sameDistribution("torch.multinomial(x, 2) == 2", {weights});
  auto [drawn, theirs] = outputs("torch.multinomial(x, 4)", {weights});
  EXPECT_FALSE((drawn == 1).any().item<bool>());
  EXPECT_TRUE(
      at::equal(std::get<0>(drawn.to(at::kLong).sort(-1)), ints({0, 2, 3, 4}).expand({4096, 4})));
  // A class of no weight comes last, and all of them once.
  std::tie(drawn, theirs) = outputs("torch.multinomial(x, 3)", {floats({0, 1e-30, 1e30})});
  EXPECT_TRUE(at::equal(drawn.to(at::kLong), ints({2, 1, 0})));
  EXPECT_THAT(refusal("torch.multinomial(x, 5)", {rand({4})}), testing::HasSubstr("4 classes"));
}

TEST(Random, TrainingIsRefused) {
  for (const char *name :
       {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"}) {
    check("torch." + std::string(name) + "(x, 0.5, False)", {randn({2, 3})});
    EXPECT_THAT(refusal("torch." + std::string(name) + "(x, 0.5, True)", {randn({2, 3})}),
                testing::HasSubstr("model.eval()"));
  }
  check("torch.native_dropout(x, 0.5, False)[0]", {randn({2, 3})});
  EXPECT_THAT(refusal("torch.native_dropout(x, 0.5, True)[0]", {randn({2, 3})}),
              testing::HasSubstr("model.eval()"));
  EXPECT_THAT(refusal("torch.rrelu(x, 0.1, 0.3, True)", {randn({2, 3})}),
              testing::HasSubstr("model.eval()"));
}

} // namespace plait::frontend
