// Infinities, NaN, zeros of both signs and numbers near the ends of single precision, in every
// combination of two operands, against LibTorch; and forms in which an operator means something
// else than its plain one.
#include "tests/frontend/lower/LowerCheck.h"

#include <cmath>

namespace plait::frontend {

namespace {
const double inf = INFINITY, nan = NAN;

at::Tensor specials() {
  return floats({0.0, -0.0, 1e-30, -1e-30, 1e-3, -0.3, 0.1, 1, -1, 2.5, -7, 1e4, -1e10, 3e30, -3e30,
                 inf, -inf, nan});
}

/// Every pair of special values whose quotient is not beyond single precision.
std::vector<at::Tensor> pairs() {
  at::Tensor values = specials().index_select(
      0, at::arange(18).masked_select(at::arange(18).ne(2) & at::arange(18).ne(3)));
  int64_t n = values.numel();
  return {values.unsqueeze(1).expand({n, n}).contiguous(), values.repeat({n, 1})};
}
} // namespace

class SpecialPairs : public testing::TestWithParam<const char *> {};
TEST_P(SpecialPairs, AreWhatLibTorchGives) { check(GetParam(), pairs()); }
INSTANTIATE_TEST_SUITE_P(
    Operators, SpecialPairs,
    testing::Values("torch.floor_divide(x, y)", "x // y", "torch.div(x, y, rounding_mode='floor')",
                    "torch.div(x, y, rounding_mode='trunc')", "torch.remainder(x, y)",
                    "torch.fmod(x, y)", "x / y", "torch.fmax(x, y)", "torch.fmin(x, y)",
                    "torch.maximum(x, y)", "torch.minimum(x, y)", "1 / torch.copysign(x, y)",
                    "torch.logaddexp(x, y)", "torch.logaddexp2(x, y)", "torch.where(x > y, x, y)",
                    "torch.heaviside(x, y)", "x * y", "x + y", "torch.eq(x, y)",
                    "torch.clamp(x, y)"));

class SpecialValues : public testing::TestWithParam<const char *> {};
TEST_P(SpecialValues, AreWhatLibTorchGives) { check(GetParam(), {specials()}); }
INSTANTIATE_TEST_SUITE_P(
    Operators, SpecialValues,
    testing::Values("torch.acosh(x)", "torch.asinh(x)", "torch.signbit(x)", "x // 0.1", "x // -3.0",
                    "torch.floor_divide(x, 0.7)", "torch.div(x, -0.1, rounding_mode='floor')",
                    "torch.celu(x, -1.5)", "torch.celu(x, 0.5)", "torch.elu(x, 0.7, 1.2, -0.5)",
                    "torch.elu(x, -0.7)", "torch.prelu(x, torch.tensor([float('inf')]))",
                    "torch.prelu(x.view(3, 6), torch.tensor([0.5, float('inf'), -float('inf'), "
                    "float('nan'), 0.0, -1.0]))",
                    "torch.prelu(x.view(1, 6, 1, 3), torch.tensor([0.5, float('inf'), "
                    "-float('inf'), float('nan'), 0.0, -1.0]))",
                    "torch.prelu(x.view(3, 6), x[6:12])",
                    "torch.logcumsumexp(x[[0, 15, 6, 16]], 0)",
                    "torch.logcumsumexp(x[[16, 16, 8, 16, 3]], 0)", "torch.relu(x)",
                    "torch.leaky_relu(x, 0.1)", "torch.nan_to_num(x)", "torch.isinf(x)",
                    "torch.trunc(x)", "torch.round(x)", "torch.abs(x)", "torch.sign(x)"));

TEST(SpecialLegs, Hypot) {
  // Of an infinity and NaN LibTorch gives the infinity, which takes operations that nothing else
  // needs.
  at::Tensor values = specials().slice(0, 0, 17);
  check("torch.hypot(x, y)",
        {values.unsqueeze(1).expand({17, 17}).contiguous(), values.repeat({17, 1})});
}

// The mean beside a variance is left out: whether LibTorch gives an infinity or NaN there depends
// on where in the row an infinity stands.
TEST(SpecialRows, MomentsAndNorms) {
  at::Tensor x = randn({4, 6});
  x[0][2] = inf;
  x[1][1] = -inf;
  x[2][0] = nan;
  // log_softmax of a row with an infinity is NaN in LibTorch; here the others are minus infinity.
  checkAll({"torch.var(x, 1)",
            "torch.var(x, 0)",
            "torch.std(x, 1)",
            "torch.std(x)",
            "torch.var(x)",
            "torch.var_mean(x, 1)[0]",
            "torch.layer_norm(x, [6])",
            "torch.layer_norm(x, [6], torch.ones(6), torch.arange(6.))",
            "torch.native_layer_norm(x, [6], None, None, 1e-5)[0]",
            "torch.group_norm(x, 2)",
            "torch.instance_norm(x.view(2, 2, 6), None, None, None, None, "
            "True, 0.1, 1e-5, False)",
            "torch.rms_norm(x, [6])",
            "torch.mean(x, 1)",
            "torch.sum(x, 1)",
            "torch.amax(x, 1)",
            "torch.logsumexp(x, 1)",
            "torch.softmax(x, 1)",
            "torch.log_softmax(x[1:], 1)",
            "torch.norm(x, 2, 1)",
            "torch.norm(x, 3, 1)",
            "torch.cumsum(x, 1)",
            "torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False)"},
           {x});
}

// An infinity stays where a window or the taps read it.
TEST(SpecialImages, OneInfinityDoesNotSpread) {
  at::Tensor line = at::arange(1, 12, at::kFloat).reshape({1, 1, 11});
  line[0][0][4] = inf;
  at::Tensor image = randn({2, 3, 7, 9}), volume = randn({1, 2, 5, 6, 7});
  image[0][1][2][5] = inf;
  image[1][0][6][8] = -inf;
  volume[0][1][2][3][4] = inf;
  checkAll({"torch.adaptive_avg_pool1d(x, 3)", "torch.adaptive_avg_pool1d(x, 4)",
            "torch.adaptive_avg_pool1d(x, 10)", "torch.adaptive_avg_pool1d(x, 20)"},
           {line});
  checkAll({"torch.adaptive_avg_pool2d(x, [3, 4])", "torch.adaptive_avg_pool2d(x, [1, 4])",
            "torch.adaptive_avg_pool2d(x, [5, 9])", "torch.max_pool2d(x, 3, 1, 1, 2)",
            "torch.upsample_nearest2d(x, [11, 5])"},
           {image});
  checkAll({"torch.adaptive_avg_pool3d(x, [3, 4, 2])", "torch.adaptive_avg_pool3d(x, [2, 1, 5])"},
           {volume});
  for (const char *source :
       {"torch.upsample_bicubic2d(x, [11, 13], False)", "torch.upsample_bicubic2d(x, [5, 4], True)",
        "torch.upsample_bilinear2d(x, [10, 13], False, 1.4, 1.5)",
        "torch.upsample_bilinear2d(x, None, False, [1.4, 1.5])"}) {
    auto [actual, expected] = outputs(source, {image});
    ASSERT_TRUE(actual.defined()) << source;
    // LibTorch's kernels differ among themselves in where 0 meets an infinity.
    at::Tensor finite = at::isfinite(expected);
    EXPECT_TRUE(
        at::allclose(actual.masked_select(finite), expected.masked_select(finite), 1e-4, 1e-5))
        << source;
    EXPECT_GT(finite.sum().item<int64_t>(), expected.numel() * 3 / 4) << source;
  }
}

TEST(FractionalScales, NearestTakesWhatLibTorchTakes) {
  for (int64_t size : {3, 4, 7, 10, 13}) {
    at::Tensor line = randn({1, 2, size});
    for (const char *op : {"upsample_nearest1d", "_upsample_nearest_exact1d"})
      for (const char *rest :
           {"None, [1.5])", "None, [2.3])", "None, [0.7])", "None, [2.0])", "[8], 1.5)",
            "[8], 3.0)", "[4], 2.0)", "[7], 0.9)", "[14], 2.0)", "[9], None)"})
        check(std::string("torch.") + op + "(x, " + rest, {line});
  }
  at::Tensor image = randn({1, 2, 4, 6});
  for (const char *op : {"upsample_nearest2d", "_upsample_nearest_exact2d"})
    for (const char *rest :
         {"[8, 6], 1.5, 2.0)", "[4, 6], 2.0, 0.5)", "None, [1.3, 2.7])", "[8, 12], 2.0, 2.0)"})
      check(std::string("torch.") + op + "(x, " + rest, {image});
  for (const char *rest :
       {"[8, 6], False, 1.5, 2.0)", "[4, 6], False, 2.0, 0.5)", "[4, 6], False, 1.0, 1.0)",
        "[8, 12], True, 1.5, 1.0)", "[1, 1], True, None, None)", "[9, 1], False, 2.2, 0.2)"}) {
    check(std::string("torch.upsample_bilinear2d(x, ") + rest, {image});
    check(std::string("torch.upsample_bicubic2d(x, ") + rest, {image});
  }
  checkAll({"torch.upsample_trilinear3d(x, [5, 7, 4], False, 1.2, 1.3, 2.0)",
            "torch.upsample_nearest3d(x, [5, 7, 4], 1.2, 1.3, 2.0)"},
           {randn({1, 2, 4, 5, 2})});
}

TEST(BroadcastOperands, NormsAndShifts) {
  checkAll({"torch.cosine_similarity(x, y, 1)", "torch.cosine_similarity(x, y, 0)",
            "torch.cosine_similarity(y, x, -1)", "torch.cosine_similarity(x[:, :1], y, 1)",
            "torch.cosine_similarity(x, z, 1)", "torch.cosine_similarity(x, z, 0)",
            "torch.cosine_similarity(x.unsqueeze(1), x.unsqueeze(0), 2)"},
           {randn({3, 4}), randn({3, 1}), randn({4})});
  at::Tensor n = randint(-50, 50, {2, 3});
  checkAll({"x << torch.tensor([[0], [3]])", "x >> torch.tensor([1, 2, 30])",
            "torch.bitwise_left_shift(x, torch.tensor([[[1]], [[2]]]))", "x >> 1",
            "torch.bitwise_right_shift(x, torch.tensor([[[1]]]))"},
           {n});
  EXPECT_NE(refusal("x << torch.tensor([1, 2, 31])", {n}), "");
}

TEST(IntegerDistances, PairwiseIsAFloat) {
  checkAll({"torch.pairwise_distance(x, y)", "torch.pairwise_distance(x, y, 1.0, 0.5, True)",
            "torch.pairwise_distance(x, y.float())"},
           {randint(-5, 5, {3, 4}), randint(-5, 5, {3, 4})});
}

TEST(OutOfAnotherType, IsCastFirstOrLast) {
  auto written = [](const std::string &call, at::ScalarType dtype, const char *shape) {
    return forward("  out = torch.zeros(" + std::string(shape) + ", dtype=" +
                   std::to_string(int(dtype)) + ")\n  torch." + call + "\n  return out\n");
  };
  at::Tensor x = floats({0.6, 0.7, 0.9, 2.7});
  // These compute in the type of `out`.
  check(written("sum(x, [0], out=out)", at::kLong, "[]"), {x});
  check(written("sum(x, [0], True, out=out)", at::kInt, "[1]"), {x});
  check(written("sum(x, [0], dtype=6, out=out)", at::kFloat, "[]"), {x});
  check(written("prod(x, 0, out=out)", at::kLong, "[]"), {x});
  check(written("cumsum(x, 0, out=out)", at::kLong, "[4]"), {x});
  check(written("cumprod(x + 1, 0, out=out)", at::kLong, "[4]"), {x});
  check(written("mean(x, [0], out=out)", at::kDouble, "[]"), {x});
  at::Tensor bytes = at::tensor({100, 27, 3, 90}, at::kChar);
  check(written("sum(x, [0], out=out)", at::kChar, "[]"), {bytes});
  checkAll({"torch.sum(x, [0], dtype=1)", "torch.prod(x, 0, dtype=2)",
            "torch.cumsum(x, 0, dtype=1)", "torch.cumprod(x, 0, dtype=0)"},
           {bytes});
  // These compute in the type of their operands.
  check(written("add(x, x, out=out)", at::kInt, "[4]"), {bytes});
  check(written("mul(x, x, out=out)", at::kFloat, "[4]"), {bytes});
  check(written("eq(x, 3, out=out)", at::kFloat, "[4]"), {bytes});
  check(written("cat([x, x], out=out)", at::kFloat, "[8]"), {bytes});
  check(written("sqrt(x, out=out)", at::kDouble, "[4]"), {bytes});
  check(written("pow(x, 2, out=out)", at::kFloat, "[4]"), {bytes});
}

} // namespace plait::frontend
