// Activations, arithmetic, powers and logarithms, comparisons and choices.
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

namespace plait::frontend {

using testing::HasSubstr;

TEST(Direct, UnaryOfFloats) {
  for (const char *name : {"abs",   "atan",   "ceil",     "cos",     "cosh",  "erf",  "exp",
                           "exp2",  "floor",  "round",    "sigmoid", "sign",  "sgn",  "sin",
                           "sinh",  "square", "tan",      "tanh",    "trunc", "frac", "expm1",
                           "erfc",  "asinh",  "deg2rad",  "rad2deg", "sinc",  "neg",  "positive",
                           "isnan", "isinf",  "isfinite", "signbit", "relu"})
    check("torch." + std::string(name) + "(x)", {randn({2, 3}) * 2});
  for (const char *name : {"acos", "asin", "atanh", "log1p", "logit"})
    check("torch." + std::string(name) + "(x)", {rand({2, 3}, 0.05, 0.95)});
  for (const char *name : {"sqrt", "rsqrt", "log", "log2", "log10", "reciprocal", "acosh"})
    check("torch." + std::string(name) + "(x)", {rand({4}, 1.1, 5)});
  check("torch.exp(x)", {at::scalar_tensor(0.5)});
}

TEST(Direct, UnaryOfIntegers) {
  for (const char *name :
       {"abs", "ceil", "floor", "round", "trunc", "sign", "square", "exp", "sin", "sigmoid", "tanh",
        "neg", "isnan", "isfinite", "signbit", "sqrt", "reciprocal", "relu"})
    check("torch." + std::string(name) + "(x)", {randint(1, 5, {2, 3})});
  check("torch.exp(x)", {randbool({3})});
  check("torch.round(x)", {floats({-2.5, -1.5, -0.5, 0.5, 1.5, 2.5})});
}

TEST(Activation, Float) {
  at::Tensor x = randn({2, 4, 3}) * 3;
  checkAll({"torch.relu6(x)",
            "torch.leaky_relu(x, 0.2)",
            "torch.elu(x, 0.7)",
            "torch.elu(x, 0.7, 1.3, 0.9)",
            "torch.selu(x)",
            "torch.celu(x, 0.5)",
            "torch.celu(x)",
            "torch.gelu(x)",
            "torch.gelu(x, approximate='tanh')",
            "torch.silu(x)",
            "torch.mish(x)",
            "torch.softplus(x)",
            "torch.softplus(x, 2.0, 1.0)",
            "torch.softplus(x, 0.5)",
            "x / (1 + x.abs())",
            "torch.hardtanh(x, -0.5, 0.7)",
            "torch.hardswish(x)",
            "torch.hardsigmoid(x)",
            "torch.hardshrink(x, 0.4)",
            "torch.softshrink(x, 0.4)",
            "x - x.tanh()",
            "torch.threshold(x, 0.1, 20.0)",
            "torch.threshold(x, 0.0, 0.0)",
            "torch.rrelu(x, 0.1, 0.3, False)",
            "torch.glu(x, 1)",
            "torch.log_sigmoid(x)",
            "torch.softmax(x, -1)",
            "torch.softmax(x, 1, dtype=7)",
            "torch.log_softmax(x, 0)",
            "torch.softmax(-x, 1)",
            "torch.logit(torch.sigmoid(x), 0.1)"},
           {x});
  check("torch.log_softmax(x * 100, 1)", {x});
  check("torch.relu6(x)", {randint(-3, 9, {6})});
  check("torch.softmax(x, 0)", {at::scalar_tensor(2.0)});
  check("torch.log_softmax(x, -1)", {at::scalar_tensor(2.0)});
  check("torch.softmax(x, 0, dtype=6)", {randint(0, 5, {4})});
}

TEST(Activation, Prelu) {
  check("torch.prelu(x, y)", {randn({2, 3, 4, 5}), rand({3})});
  check("torch.prelu(x, y)", {randn({2, 3}), rand({1})});
  check("torch.prelu(x, torch.full([3], 0.3))", {randn({2, 3, 4, 5})});
  check("torch.prelu(x, torch.full([1], 0.3))", {randn({2, 3, 4})});
  check("torch.prelu(x, torch.tensor([0.1, 0.2, 0.3]))", {randn({2, 3, 4})});
}

TEST(Activation, InPlace) {
  check("def forward(self, x):\n  y = x * 2\n  torch.relu_(y)\n  y.add_(1).mul_(x)\n  return y\n",
        {randn({2, 3})});
  check("def forward(self, x):\n  y = x * 2\n  y.clamp_(0.0, 1.0)\n  y.masked_fill_(x > 0, 3.0)\n"
        "  y[0].zero_()\n  y[1].fill_(2)\n  return y\n",
        {randn({2, 3})});
}

TEST(Arithmetic, TensorAndTensor) {
  at::Tensor x = randn({2, 3, 4}), y = randn({3, 1});
  checkAll({"x + y",
            "x - y",
            "x * y",
            "x / y",
            "torch.add(x, y, alpha=2)",
            "torch.sub(x, y, alpha=0.5)",
            "torch.rsub(x, y, alpha=2)",
            "torch.div(x, y, rounding_mode='floor')",
            "torch.div(x, y, rounding_mode='trunc')",
            "torch.div(x, y, rounding_mode=None)",
            "x // y",
            "x % y",
            "torch.fmod(x, y)",
            "torch.maximum(x, y)",
            "torch.minimum(x, y)",
            "torch.max(x, y)",
            "torch.min(x, y)",
            "torch.fmax(x, y)",
            "torch.atan2(x, y)",
            "torch.lerp(x, y.expand(2, 3, 4), 0.3)",
            "torch.addcmul(x, x, y, value=0.5)",
            "torch.addcdiv(x, x, y, value=2)",
            "torch.copysign(x, y)",
            "torch.hypot(x, y)",
            "torch.logaddexp(x, y)",
            "torch.logaddexp2(x, y)",
            "torch.heaviside(x, y)"},
           {x, y});
}

TEST(Arithmetic, Integers) {
  at::Tensor x = randint(-20, 20, {3, 5}), y = randint(1, 6, {5});
  for (auto divisor : {y, -y})
    checkAll({"x + y", "x - y", "x * y", "x / y", "x // y", "x % y", "torch.fmod(x, y)",
              "torch.div(x, y, rounding_mode='floor')", "torch.div(x, y, rounding_mode='trunc')",
              "torch.add(x, y, alpha=3)", "torch.maximum(x, y)", "torch.rsub(x, y)"},
             {x, divisor});
  checkAll({"x + 1", "x + 1.5", "x * 2", "x / 2", "x // 3", "x % 3", "x % -3", "x // -3",
            "torch.fmod(x, 3)", "torch.fmod(x, -3)", "1 - x", "2 * x", "x // (x * 0 + 2)", "-x",
            "torch.remainder(7, x * 0 + 4)", "torch.div(x, 3, rounding_mode='trunc')", "x / 2.5"},
           {x});
}

TEST(Arithmetic, Floats) {
  at::Tensor x = floats({-7.5, -2, -0.5, 0.5, 2, 7.5});
  checkAll({"x % 3", "x % -3", "torch.fmod(x, 3)", "torch.fmod(x, -3)", "x // 2", "x // -2",
            "torch.round(x, decimals=1)", "torch.round(x * 123.4, decimals=-1)", "1 / x",
            "3.5 - x"},
           {x});
}

TEST(Arithmetic, Bools) {
  at::Tensor x = randbool({2, 5}), y = randbool({5});
  checkAll({"x + y", "x * y", "torch.maximum(x, y)", "x + 1", "x * 2.5", "x / y.add(1)", "x & y",
            "x | y", "x ^ y", "~x", "torch.logical_and(x, y)", "torch.logical_or(x, y)",
            "torch.logical_xor(x, y)", "torch.logical_not(x)", "x == y", "x != y", "x < y",
            "x >= y"},
           {x, y});
}

TEST(Arithmetic, Promotion) {
  check("x + y", {randint(0, 5, {3}), randn({3})});
  check("x * y", {randbool({3}), randn({3})});
  check("x * y", {randbool({3}), randint(0, 9, {3})});
  check("x + y", {randint(0, 5, {3}).to(at::kInt), randint(0, 5, {3})});
  check("x + y", {randint(0, 5, {3}), at::scalar_tensor(1.5)});
  check("x * y", {randn({3}), at::scalar_tensor(3, at::kLong)});
  check("x.half() * 2 + y", {randn({3}), randn({3})}, {.rtol = 2e-3, .atol = 2e-3});
}

TEST(Arithmetic, NarrowIntegersWrapAround) {
  at::Tensor x = randint(-200, 200, {4, 5}), y = randint(-5, 6, {5});
  for (const char *type : {"0", "1", "2"}) { // uint8, int8, int16
    std::string narrow = "x.to(" + std::string(type) + ")",
                other = "y.to(" + std::string(type) + ")";
    checkAll({narrow + " + " + narrow, narrow + " * 300", narrow + " * 3 - 7", "-" + narrow,
              narrow + " ** 2", narrow + ".square()", narrow + " - " + other,
              "torch.rsub(" + narrow + ", 3)", narrow + " << 3", "~" + narrow, narrow + ".abs()",
              "torch.add(" + narrow + ", " + other + ", alpha=50)"},
             {x, y});
  }
  check("torch.negative(x)", {x});
}

TEST(Arithmetic, Clamp) {
  at::Tensor x = randn({2, 5}) * 2;
  checkAll({"torch.clamp(x, -1, 1)", "torch.clamp(x, min=-0.5)", "torch.clamp(x, max=0.5)",
            "torch.clamp(x, 1, -1)", "torch.clip(x, 0.0, 1.0)", "torch.clamp_min(x, 0.2)",
            "torch.clamp_max(x, 0.2)"},
           {x});
  check("torch.clamp(x, y, z)", {x, randn({5}) - 1, randn({2, 1}) + 1});
  check("torch.clamp(x, min=y)", {x, randn({5})});
  checkAll({"torch.clamp(x, 1, 3)", "torch.clamp(x, min=2)", "torch.clamp(x, 0.5, 2.5)"},
           {randint(-5, 5, {6})});
}

TEST(Exponential, Powers) {
  at::Tensor x = rand({2, 3}, 0.2, 3);
  for (const char *p : {"2", "3", "0.5", "-0.5", "-1", "-2", "1", "0", "2.5", "-1.5"})
    check("torch.pow(x, " + std::string(p) + ")", {x});
  checkAll({"x ** 2", "2 ** x", "2.5 ** x", "torch.pow(x, x)", "torch.float_power(x, 2)"}, {x});
  checkAll({"x ** 2", "x ** 3", "2 ** x", "x ** x", "x ** 0.5", "3 ** x"}, {randint(0, 5, {4})});
  check("torch.pow(x, y)", {x, randn({3})});
  check("torch.ldexp(x, y)", {x, randn({3})});
  check("torch.ldexp(x, y)", {x, randint(-3, 4, {3})});
  check("x ** 2", {randn({4})});
  check("x ** 3", {randn({4})});
  check("torch.xlogy(x, y)", {floats({0, 0, 1, 2}), floats({0, 2, 3, 0.5})});
  check("torch.atan2(x, y)",
        {floats({0, 1, -1, 0, 1, -1, 2, -2}), floats({1, 0, 0, -1, -1, -1, 3, 3})});
}

static at::Tensor scalarOf(double value) { return at::scalar_tensor(value); }

TEST(Comparison, All) {
  at::Tensor x = randint(0, 4, {3, 4}), y = randint(0, 4, {4});
  for (const char *op : {"==", "!=", "<", "<=", ">", ">="}) {
    std::string sign(op);
    check("x " + sign + " y", {x, y});
    check("x " + sign + " 2", {x});
    check("x " + sign + " 1.5", {x});
    check("x " + sign + " y", {x, y.to(at::kFloat) + 0.5});
    check("x " + sign + " 0", {randn({5})});
    check("x " + sign + " y", {randbool({5}), randbool({5})});
  }
  check("torch.equal(x, y)", {floats({1, 2}), floats({1, 2})});
  check("torch.equal(x, y)", {floats({1, 2}), floats({1, 3})});
  check("torch.equal(x, y)", {floats({1, 2}), floats({1, 2, 3})});
  check("torch.equal(x, y)", {scalarOf(2), scalarOf(2)});
  check("torch.isclose(x, y)", {floats({1, 2, 3, INFINITY}), floats({1.000001, 2.1, 3, INFINITY})});
}

TEST(Comparison, SpecialValues) {
  at::Tensor x = floats({1, -2, INFINITY, -INFINITY, NAN, 0});
  checkAll({"torch.isnan(x)", "torch.isinf(x)", "torch.isfinite(x)", "torch.isposinf(x)",
            "torch.isneginf(x)", "torch.nan_to_num(x, 3.0, 7.0, -7.0)", "torch.nan_to_num(x)"},
           {x});
}

TEST(Comparison, Choices) {
  at::Tensor m = randbool({2, 4}), x = randn({2, 4}), y = randn({4});
  check("torch.where(x, y, z)", {m, x, y});
  check("torch.where(x, y, 0.0)", {m, x});
  check("torch.where(x, 1.0, y)", {m, x});
  check("torch.where(x, 1, 0)", {m});
  check("torch.where(x, y, z)", {m, randint(0, 5, {2, 4}), x});
  check("torch.where(x > 0, x, y)", {x, y});
  check("x.masked_fill(y, float('-inf'))", {x, m});
  check("x.masked_fill(y, 3)", {x, m});
  check("x.masked_fill(y, z)", {x, m, at::scalar_tensor(2.0)});
  check("x.masked_fill(y, True)", {randbool({2, 4}), m});
  check("x.masked_fill(y, -1e9)", {randn({2, 3, 4, 5}), randbool({2, 1, 1, 5})});
  check("x.masked_fill(y == 0, 1)", {randint(0, 9, {2, 4}), randint(0, 2, {4})});
}

TEST(Comparison, Bitwise) {
  at::Tensor x = randint(-50, 50, {8});
  checkAll({"~x", "x & 7", "x << 3", "x >> 2", "torch.bitwise_and(x, 255)"}, {x});
  at::Tensor y = ints({0, -1, 5, INT32_MAX, INT32_MIN, 0x55555555, -77, 12});
  checkAll({"x | 3", "x & 6", "x ^ -3", "x & y", "y | x", "x ^ y",
            "y.view(2, 1, 4) & x.view(1, 2, 4)", "y.view(2, 1, 1, 1, 4) ^ x.view(1, 2, 1, 1, 4)"},
           {x, y});
}

TEST(Distance, All) {
  at::Tensor x = randn({4, 5}), y = randn({4, 5});
  checkAll({"torch.cosine_similarity(x, y)", "torch.cosine_similarity(x, y, 0)",
            "torch.pairwise_distance(x, y)", "torch.pairwise_distance(x, y, 1.0)",
            "torch.cdist(x, y)", "torch.cdist(x, y, 1.0)", "torch.mse_loss(x, y)",
            "torch.mse_loss(x, y, reduction=0)", "torch.l1_loss(x, y)",
            "torch.smooth_l1_loss(x, y, beta=0.7)",
            "torch.huber_loss(x, y, reduction=2, delta=0.7)",
            "torch.binary_cross_entropy_with_logits(x, torch.sigmoid(y))",
            "torch.binary_cross_entropy(torch.sigmoid(x), torch.sigmoid(y))"},
           {x, y});
}

} // namespace plait::frontend
