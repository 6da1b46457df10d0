// Python numbers that are known at run time only, against TorchScript's interpreter: signs, types,
// rounding.
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

using namespace plait::frontend;

namespace {

/// `expression` in floats a, b and ints i, j that come out of tensors.
void numbers(const std::string &expression, double a, double b, int64_t i, int64_t j) {
  check("def forward(self, x, y, z, w):\n  a = float(x)\n  b = float(y)\n  i = int(z)\n"
        "  j = int(w)\n  return " +
            expression + "\n",
        {at::scalar_tensor(a), at::scalar_tensor(b), at::scalar_tensor(i, at::kLong),
         at::scalar_tensor(j, at::kLong)},
        {.rtol = 1e-5, .atol = 1e-5});
}

const std::vector<std::pair<double, double>> kFloats = {{7.5, 2.25},   {-7.5, 2.25}, {7.5, -2.25},
                                                        {-7.5, -2.25}, {0.5, 3},     {-0.5, 3}};
const std::vector<std::pair<int64_t, int64_t>> kInts = {{7, 3}, {-7, 3}, {7, -3}, {-7, -3},
                                                        {6, 3}, {-6, 3}, {0, 5},  {2, 5}};

void everySign(const std::vector<std::string> &expressions) {
  for (const std::string &expression : expressions)
    for (size_t k = 0; k < kInts.size(); ++k) {
      auto [a, b] = kFloats[k % kFloats.size()];
      numbers(expression, a, b, kInts[k].first, kInts[k].second);
    }
}

TEST(Numbers, Arithmetic) {
  everySign({"a + b, i + j, a + i, i - b", "a - b, i - j", "a * b, i * j, i * b", "-a, -i",
             "a + 1, 2 * i, 1.5 - i, i * 0.5"});
}

TEST(Numbers, Quotients) {
  everySign({"a / b, i / j, a / j, i / b", "a // b, i // j, a // j, i // b",
             "i // 2, i // -2, 7 // j, a // 2, a // -2", "i / 2, 1 / a"});
}

TEST(Numbers, Remainders) {
  everySign({"a % b, i % j, a % j, i % b", "i % 4, i % -4, a % 4, a % -4",
             "torch.fmod(a, b), torch.fmod(i, j), torch.fmod(a, j), torch.fmod(i, b)",
             "torch.fmod(i, 4), torch.fmod(i, -4), torch.fmod(a, 2.0)"});
}

TEST(Numbers, Powers) {
  everySign({"a ** 2, i ** 2, a ** 3.0", "i ** 2.0", "torch.pow(a, 2.0)"});
  numbers("a ** b, i ** j, i ** b, a ** j, 2 ** i, 2.0 ** j", 2.5, 1.5, 3, 2);
}

TEST(Numbers, Rounding) {
  for (double a : {2.5, -2.5, 3.5, -0.5, 0.5, 1.2, -1.2, 1.7, -1.7, 4.0})
    numbers("round(a), round(i), torch.floor(a), torch.ceil(a), torch.floor(i), int(a), int(b), "
            "float(i), bool(i), bool(a)",
            a, -a, 3, 0);
}

TEST(Numbers, Extremes) {
  everySign({"min(a, b), max(a, b), min(i, j), max(i, j)", "min(a, i), max(a, i)",
             "min(i, 2), max(i, 2), max(a, 0.0)", "abs(a), abs(i), torch.fabs(a), torch.fabs(i)",
             "min([i, j, 3]), max([i, j, 3])"});
}

TEST(Numbers, Comparisons) {
  everySign({"a == b, a != b, a < b, a <= b, a > b, a >= b", "i == j, i != j, i < j, i <= j, i > j",
             "a < i, i >= b, i == 7, a > 0.0, 0 < i"});
  everySign({"(a > 0) and (i > 0), (a > 0) or (i > 0), not (a > 0)", "bool(i) == (a > 0)"});
}

TEST(Numbers, Bits) {
  everySign({"i & 7, i & 1, 3 & i", "i << 2, i >> 1"});
  numbers("i << j, i >> j", 0, 0, 13, 2);
  everySign({"i | 4, i ^ j, i & 6"});
}

TEST(Numbers, Mathematics) {
  numbers("torch.sqrt(b), torch.exp(a), torch.log(b), torch.log(b, 2.0), torch.log10(b), "
          "torch.log1p(b)",
          0.4, 1.3, 3, 2);
  numbers("torch.sin(a), torch.cos(a), torch.tan(a), torch.asin(a), torch.acos(a), torch.atan(a)",
          0.4, 1.3, 3, 2);
  numbers(
      "torch.sinh(a), torch.cosh(a), torch.tanh(a), torch.asinh(a), torch.acosh(b), torch.atanh(a)",
      -0.4, 1.3, 3, 2);
  numbers("torch.erf(a), torch.erfc(a), torch.expm1(a), torch.degrees(a), torch.radians(a)", -0.4,
          1.3, 3, 2);
  numbers("torch.atan2(a, b), torch.copysign(b, a), torch.ldexp(a, i), torch.sqrt(i)", -0.4, 1.3, 3,
          2);
  for (double a : {1.0, double(INFINITY), -double(INFINITY), double(NAN)})
    numbers("torch.isnan(a), torch.isinf(a), torch.isfinite(a)", a, 1, 3, 2);
}

TEST(Numbers, OfSizes) {
  // float(size), fmod and divisions of a symbolic size are run-time numbers too.
  for (const char *expression :
       {"float(n) / 2", "torch.fmod(n, 4)", "n / 4", "n ** 2", "torch.sqrt(n)", "round(n * 0.3)",
        "int(n * 0.5)", "torch.floor(n / 2)", "torch.ceil(n / 4)", "min(n * 0.5, 2.0)", "n & 3",
        "-n // 2", "-n % 4", "float(n > 4)"})
    checkDynamic("def forward(self, x):\n  n = x.size(0)\n  return x + (" +
                     std::string(expression) + ")\n",
                 {randn({6, 2})}, {0});
}

TEST(Numbers, DecideAndCount) {
  check("def forward(self, x):\n  n = int(x.sum())\n  y = x\n  if n % 3 == 1:\n    y = x * 2\n"
        "  return y * n\n",
        {floats({1, 2, 4})});
  check("def forward(self, x):\n  n = int(x.sum())\n  y = x\n  for i in range(n, 0, -2):\n"
        "    y = y + i\n  return y\n",
        {floats({1, 2, 4})});
  check("def forward(self, x, y):\n  if torch.equal(x, y):\n    return x * 2\n  return x\n",
        {floats({1, 2}), floats({1, 2})});
}

} // namespace
