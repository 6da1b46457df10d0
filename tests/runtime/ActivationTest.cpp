// Activations and elementwise operations against their formulas.
#include "OpCheck.h"

namespace plait::runtime {

using namespace mil;

struct Formula {
  OpKind kind;
  at::Tensor (*expected)(const at::Tensor &);
  at::Tensor (*domain)(const at::Tensor &) = nullptr; // brings normal numbers where it is defined
};

static at::Tensor f64(const at::Tensor &x) { return x.to(at::kDouble); }
static at::Tensor inUnit(const at::Tensor &x) { return half(at::tanh(x) * 0.9); }
static at::Tensor aboveZero(const at::Tensor &x) { return half(at::abs(x) + 0.25); }

static const Formula kFormulas[] = {
    {OpKind::relu, [](auto &x) { return at::where(x > 0, x, at::zeros_like(x)); }},
    {OpKind::relu6, [](auto &x) { return at::clamp(x * 4, 0, 24) / 4; },
     [](auto &x) { return half(at::where(x > 1, x + 5, x)); }},
    {OpKind::sigmoid, [](auto &x) { return 1 / (1 + at::exp(-f64(x))); }},
    {OpKind::silu, [](auto &x) { return f64(x) / (1 + at::exp(-f64(x))); }},
    {OpKind::softplus, [](auto &x) { return at::log1p(at::exp(f64(x))); }},
    {OpKind::softsign, [](auto &x) { return x / (1 + at::abs(x)); }},
    {OpKind::tanh, [](auto &x) { return 1 - 2 / (at::exp(2 * f64(x)) + 1); }},
    {OpKind::abs, [](auto &x) { return at::where(x < 0, -x, x); }},
    {OpKind::acos, [](auto &x) { return at::acos(f64(x)); }, inUnit},
    {OpKind::asin, [](auto &x) { return at::asin(f64(x)); }, inUnit},
    {OpKind::atan, [](auto &x) { return at::atan(f64(x)); }},
    {OpKind::atanh, [](auto &x) { return 0.5 * at::log((1 + f64(x)) / (1 - f64(x))); }, inUnit},
    {OpKind::ceil, [](auto &x) { return -at::floor(-x); }},
    {OpKind::cos, [](auto &x) { return at::cos(f64(x)); }},
    {OpKind::cosh, [](auto &x) { return (at::exp(f64(x)) + at::exp(-f64(x))) / 2; }},
    {OpKind::erf, [](auto &x) { return at::erf(f64(x)); }},
    {OpKind::exp, [](auto &x) { return at::exp(f64(x)); }},
    {OpKind::exp2, [](auto &x) { return at::exp(f64(x) * std::log(2.0)); }},
    {OpKind::floor, [](auto &x) { return at::floor(x); }},
    {OpKind::round, [](auto &x) { return at::round(f64(x)); }},
    {OpKind::sign, [](auto &x) { return (x > 0).to(at::kFloat) - (x < 0).to(at::kFloat); }},
    {OpKind::sin, [](auto &x) { return at::sin(f64(x)); }},
    {OpKind::sinh, [](auto &x) { return (at::exp(f64(x)) - at::exp(-f64(x))) / 2; }},
    {OpKind::sqrt, [](auto &x) { return at::pow(f64(x), 0.5); }, aboveZero},
    {OpKind::square, [](auto &x) { return at::pow(x, 2); }},
    {OpKind::tan, [](auto &x) { return at::sin(f64(x)) / at::cos(f64(x)); }, inUnit},
};

TEST(Elementwise, FormulasOfOneOperand) {
  for (const Formula &formula : kFormulas)
    for (std::vector<int64_t> shape : {std::vector<int64_t>{}, {7}, {2, 3, 5}, {1, 2, 3, 2, 2}}) {
      at::Tensor x = randn(shape, 3);
      if (formula.domain)
        x = formula.domain(x);
      check(formula.kind, {{0, x}}, formula.expected(x));
    }
}

TEST(Elementwise, IntegersKeepTheirType) {
  at::Tensor x = ints({-3, 0, 2, 7});
  check(OpKind::abs, {{abs::x, x}}, ints({3, 0, 2, 7}));
  check(OpKind::sign, {{sign::x, x}}, ints({-1, 0, 1, 1}));
  check(OpKind::square, {{square::x, x}}, ints({9, 0, 4, 49}));
  check(OpKind::exp2, {{exp2::x, ints({0, 1, 5})}}, ints({1, 2, 32}));
  check(OpKind::threshold, {{threshold::x, x}, lit(threshold::alpha, 1)}, ints({1, 1, 2, 7}));
}

TEST(Elementwise, RoundTakesHalvesToEven) {
  check(OpKind::round, {{round::x, floats({-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4})}},
        floats({-2, -2, 0, 0, 2, 2, 2}));
}

TEST(Elementwise, EpsilonsAreAdded) {
  at::Tensor x = floats({0.25, 1, 4});
  check(OpKind::inverse, {{inverse::x, x}, lit(inverse::epsilon, 0.0)}, floats({4, 1, 0.25}));
  check(OpKind::inverse, {{inverse::x, x}, lit(inverse::epsilon, 0.5)}, 1 / (x + 0.5));
  check(OpKind::inverse, {{inverse::x, x}}, 1 / (x + 1e-4));
  check(OpKind::log, {{log::x, x}, lit(log::epsilon, 0.0)}, at::log(x));
  check(OpKind::log, {{log::x, x}, lit(log::epsilon, 0.125)}, at::log(x + 0.125));
  check(OpKind::rsqrt, {{rsqrt::x, x}, lit(rsqrt::epsilon, 0.0)}, floats({2, 1, 0.5}));
  check(OpKind::rsqrt, {{rsqrt::x, x}, lit(rsqrt::epsilon, 0.75)}, 1 / at::sqrt(x + 0.75));
}

TEST(Elementwise, ClipAndThreshold) {
  at::Tensor x = randn({4, 5});
  check(OpKind::clip, {{clip::x, x}, lit(clip::alpha, -0.5), lit(clip::beta, 0.75)},
        at::clamp(x, -0.5, 0.75));
  check(OpKind::threshold, {{threshold::x, x}, lit(threshold::alpha, 0.25)},
        at::clamp_min(x, 0.25));
}

TEST(Elementwise, CastTruncatesAndWraps) {
  auto cast = [](const at::Tensor &x, const char *to) {
    return runOp(OpKind::cast, {{cast::x, x}, lit(cast::dtype, to)}).at(0);
  };
  EXPECT_TRUE(at::equal(cast(floats({-1.9, -0.5, 0.5, 1.9}), "int32"), ints({-1, 0, 0, 1})));
  EXPECT_TRUE(at::equal(cast(floats({1e20, -1e20}), "int32"), ints({INT32_MAX, INT32_MIN})));
  EXPECT_TRUE(at::equal(cast(floats({-5, 0.5, 300}), "uint8"), ints({0, 0, 255}).to(at::kByte)));
  EXPECT_TRUE(
      at::equal(cast(ints({-1, 255, 256, 130}), "int8"), ints({-1, -1, 0, -126}).to(at::kChar)));
  EXPECT_TRUE(at::equal(cast(ints({-1, 65536, 7}), "uint16"), ints({65535, 0, 7})));
  EXPECT_TRUE(at::equal(cast(floats({0, 0.25, -2}), "bool"), ints({0, 1, 1}).to(at::kBool)));
  EXPECT_TRUE(at::equal(cast(ints({3, 0}).to(at::kBool), "fp32"), floats({1, 0})));
  EXPECT_TRUE(at::equal(cast(floats({1.0009765625, 70000}), "fp16"),
                        floats({1.0009765625, INFINITY}).to(at::kHalf)));
}

TEST(Activations, WithParameters) {
  at::Tensor x = randn({2, 3, 4, 2}), d = f64(x);
  at::Tensor zero = at::zeros_like(d);
  check(OpKind::clamped_relu, {{0, x}, lit(clamped_relu::alpha, 0.5), lit(clamped_relu::beta, 1.0)},
        at::clamp_max(at::where(d >= 0, d, 0.5 * d), 1.0));
  check(OpKind::elu, {{0, x}, lit(elu::alpha, 0.5)}, at::where(d > 0, d, 0.5 * (at::exp(d) - 1)));
  check(OpKind::leaky_relu, {{0, x}, lit(leaky_relu::alpha, 0.125)},
        at::where(d > 0, d, 0.125 * d));
  check(OpKind::linear_activation,
        {{0, x}, lit(linear_activation::alpha, 2.0), lit(linear_activation::beta, -0.5)},
        2 * d - 0.5);
  check(OpKind::scaled_tanh, {{0, x}, lit(scaled_tanh::alpha, 2.0), lit(scaled_tanh::beta, 0.5)},
        2 * at::tanh(d * 0.5));
  check(OpKind::sigmoid_hard,
        {{0, x}, lit(sigmoid_hard::alpha, 0.25), lit(sigmoid_hard::beta, 0.5)},
        at::clamp(d * 0.25 + 0.5, 0, 1));
  check(OpKind::thresholded_relu, {{0, x}, lit(thresholded_relu::alpha, 0.5)},
        at::where(d >= 0.5, d, zero));
}

TEST(Activations, PerChannel) {
  at::Tensor x = randn({2, 3, 4, 2}), alpha = floats({0.25, 0.5, -1}), beta = floats({1, 2, 0.5});
  at::Tensor a = alpha.reshape({1, 3, 1, 1}), b = beta.reshape({1, 3, 1, 1});
  check(OpKind::prelu, {{prelu::x, x}, {prelu::alpha, alpha}}, at::where(x > 0, x, x * a));
  check(OpKind::softplus_parametric,
        {{softplus_parametric::x, x},
         {softplus_parametric::alpha, alpha},
         {softplus_parametric::beta, beta}},
        a * at::log(1 + at::exp(x * b)));
}

TEST(Activations, GeluModes) {
  at::Tensor x = randn({3, 7}), d = f64(x);
  check(OpKind::gelu, {{0, x}}, d * 0.5 * (1 + at::erf(d / std::sqrt(2.0))));
  check(OpKind::gelu, {{0, x}, lit(gelu::mode, "TANH_APPROXIMATION")},
        0.5 * d * (1 + at::tanh(std::sqrt(2 / M_PI) * (d + 0.044715 * d * d * d))));
  check(OpKind::gelu, {{0, x}, lit(gelu::mode, "SIGMOID_APPROXIMATION")},
        d / (1 + at::exp(-1.702 * d)));
}

TEST(Activations, SoftmaxOverAnyAxis) {
  at::Tensor x = randn({2, 3, 4}), e = at::exp(f64(x));
  for (int axis : {-1, 0, 1, 2, -3})
    check(OpKind::softmax, {{0, x}, lit(softmax::axis, axis)}, e / e.sum(axis, true));
  // Large numbers do not overflow.
  check(OpKind::softmax, {{0, floats({1000, 1000})}}, floats({0.5, 0.5}));
}

TEST(Elementwise, BinaryBroadcasts) {
  std::pair<std::vector<int64_t>, std::vector<int64_t>> shapes[] = {
      {{2, 3}, {2, 3}}, {{2, 3}, {3}}, {{2, 1, 4}, {3, 1}}, {{}, {2, 2}}, {{5}, {}}};
  for (const auto &[a, b] : shapes) {
    at::Tensor x = randn(a, 1), y = randn(b, 2);
    check(OpKind::add, {{0, x}, {1, y}}, f64(x) + f64(y));
    check(OpKind::sub, {{0, x}, {1, y}}, f64(x) - f64(y));
    check(OpKind::mul, {{0, x}, {1, y}}, f64(x) * f64(y));
    check(OpKind::real_div, {{0, x}, {1, aboveZero(y)}}, f64(x) / f64(aboveZero(y)));
    check(OpKind::maximum, {{0, x}, {1, y}}, at::where(x > y, x, y));
    check(OpKind::minimum, {{0, x}, {1, y}}, at::where(x > y, y, x));
    check(OpKind::pow, {{0, aboveZero(x)}, {1, y}}, at::exp(f64(y) * at::log(f64(aboveZero(x)))));
    check(OpKind::greater, {{0, x}, {1, y}}, (x - y) > 0);
    check(OpKind::less_equal, {{0, x}, {1, y}}, (x - y) <= 0);
    at::Tensor p = randint(0, 2, a, 5).to(at::kBool), q = randint(0, 2, b, 6).to(at::kBool);
    check(OpKind::logical_and, {{0, p}, {1, q}}, (p.to(at::kInt) * q.to(at::kInt)).to(at::kBool));
    check(OpKind::logical_or, {{0, p}, {1, q}}, (p.to(at::kInt) + q.to(at::kInt)) > 0);
    check(OpKind::logical_xor, {{0, p}, {1, q}}, p.to(at::kInt) != q.to(at::kInt));
  }
  at::Tensor p = randint(0, 2, {5}).to(at::kBool);
  check(OpKind::logical_not, {{0, p}}, p == false);
}

TEST(Elementwise, Comparisons) {
  at::Tensor x = floats({1, 2, 3}), y = floats({3, 2, 1});
  auto flag = [](std::initializer_list<int64_t> values) { return ints(values).to(at::kBool); };
  check(OpKind::equal, {{0, x}, {1, y}}, flag({0, 1, 0}));
  check(OpKind::not_equal, {{0, x}, {1, y}}, flag({1, 0, 1}));
  check(OpKind::greater, {{0, x}, {1, y}}, flag({0, 0, 1}));
  check(OpKind::greater_equal, {{0, x}, {1, y}}, flag({0, 1, 1}));
  check(OpKind::less, {{0, x}, {1, y}}, flag({1, 0, 0}));
  check(OpKind::less_equal, {{0, x}, {1, y}}, flag({1, 1, 0}));
}

TEST(Elementwise, IntegerDivisionFollowsTheFloor) {
  at::Tensor x = ints({7, -7, 7, -7, 6}), y = ints({2, 2, -2, -2, 3});
  check(OpKind::floor_div, {{0, x}, {1, y}}, ints({3, -4, -4, 3, 2}));
  check(OpKind::mod, {{0, x}, {1, y}}, ints({1, 1, -1, -1, 0}));
  check(OpKind::real_div, {{0, x}, {1, y}}, ints({3, -3, -3, 3, 2}));
  check(OpKind::pow, {{0, ints({2, -3, 1, -1, 2, -1})}, {1, ints({10, 3, -4, -3, -1, -2})}},
        ints({1024, -27, 1, -1, 0, 1}));
  at::Tensor f = floats({7, -7, 7, -7, 5.5}), g = floats({2, 2, -2, -2, 2});
  check(OpKind::floor_div, {{0, f}, {1, g}}, floats({3, -4, -4, 3, 2}));
  check(OpKind::mod, {{0, f}, {1, g}}, floats({1, 1, -1, -1, 1.5}));
  EXPECT_NE(failureOf(OpKind::mod, {{0, ints({1})}, {1, ints({0})}}).find("divided by zero"),
            std::string::npos);
}

TEST(Elementwise, IntegersWrap) {
  at::Tensor big = ints({INT32_MAX});
  check(OpKind::add, {{0, big}, {1, ints({1})}}, ints({INT32_MIN}));
  check(OpKind::mul, {{0, big}, {1, ints({2})}}, ints({-2}));
}

TEST(Elementwise, SelectBroadcasts) {
  at::Tensor p = randint(0, 2, {3, 1}).to(at::kBool), a = randn({3, 4}, 1), b = randn({4}, 2);
  at::Tensor keep = p.to(at::kFloat);
  check(OpKind::select, {{select::cond, p}, {select::a, a}, {select::b, b}},
        a * keep + b * (1 - keep));
  check(OpKind::select, {{select::cond, p}, {select::a, ints({1, 2})}, {select::b, ints({5, 6})}},
        at::where(p, ints({1, 2}), ints({5, 6})));
}

} // namespace plait::runtime
