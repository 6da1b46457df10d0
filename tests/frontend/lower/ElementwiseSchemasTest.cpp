// The rest of the schemas of elementwise operations: aliases, overloads, defaults given and left
// out.
#include "tests/frontend/lower/LowerCheck.h"

namespace plait::frontend {

TEST(ElementwiseSchemas, Aliases) {
  checkAll({"torch.absolute(x)",
            "torch.arccos(x)",
            "torch.arcsin(x)",
            "torch.arctan(x)",
            "torch.arctanh(x)",
            "torch.special_erf(x)",
            "torch.special_exp2(x)",
            "torch.special_expit(x)",
            "torch.special_expm1(x)",
            "torch.special_log1p(x)",
            "torch.special_xlogy(x, x)",
            "torch.special_xlogy(x, 2)",
            "torch.special_xlogy(2, x)",
            "torch.arcsinh(x)",
            "torch.arccosh(x + 1)",
            "torch.arctan2(x, x - 0.5)",
            "torch.special_logit(x)",
            "torch.special_logit(x, 0.2)",
            "torch.special_log_softmax(x, 1)",
            "torch.special_softmax(x, 0)",
            "torch.fix(x * 5 - 2)",
            "torch.special_round(x * 10)",
            "torch.special_round(x * 10, decimals=1)",
            "torch.log_sigmoid(x)",
            "torch.log_sigmoid_forward(x)[0]"},
           {rand({2, 3}, 0.1, 0.9)});
}

TEST(ElementwiseSchemas, ComparisonAliases) {
  checkAll({"torch.greater(x, y)", "torch.greater(x, 2)", "torch.greater_equal(x, y)",
            "torch.greater_equal(x, 2)", "torch.less(x, y)", "torch.less(x, 2)",
            "torch.less_equal(x, y)", "torch.less_equal(x, 1.5)", "torch.not_equal(x, y)",
            "torch.not_equal(x, 2)", "torch.eq(x, True)", "x == 2.0", "2 < x", "2.5 >= x",
            "x != x.size(0)"},
           {randint(0, 4, {3, 4}), randint(0, 4, {4})});
}

TEST(ElementwiseSchemas, BooleanBits) {
  checkAll({"torch.logical_and(x, y)"}, {randbool({3, 4}), randbool({4})});
}

TEST(ElementwiseSchemas, IntegerBits) {
  checkAll({"x & 15", "x & 1", "torch.bitwise_and(15, x)", "x << 2", "x >> 2",
            "torch.bitwise_left_shift(x, 2)", "torch.bitwise_right_shift(x, 2)", "~x"},
           {randint(-40, 40, {3, 4}), randint(0, 5, {4})});
}

TEST(ElementwiseSchemas, ArithmeticAliases) {
  checkAll({"torch.divide(x, y)",
            "torch.divide(x, 2)",
            "torch.divide(x, y, rounding_mode='floor')",
            "torch.divide(x, 2, rounding_mode='trunc')",
            "torch.true_divide(x, y)",
            "torch.true_divide(x, 3)",
            "torch.subtract(x, y)",
            "torch.subtract(x, y, alpha=2)",
            "torch.subtract(x, 2)",
            "torch.subtract(x, 2, alpha=3)",
            "torch.multiply(x, y)",
            "torch.multiply(x, 2)",
            "torch.fmin(x, y)",
            "torch.fmax(x, y)",
            "torch.add(x, 3, alpha=2)",
            "torch.sub(x, 3, alpha=2)",
            "torch.rsub(x, 3, 2)",
            "torch.remainder(x, y)",
            "torch.remainder(x, 0.7)",
            "torch.remainder(2.5, x)",
            "torch.fmod(x, y)",
            "torch.fmod(x, 0.7)",
            "torch.floor_divide(x, y)",
            "torch.floor_divide(x, 0.7)",
            "torch.negative(x)",
            "torch.neg(x)",
            "torch.float_power(x.abs(), y.abs())",
            "torch.float_power(2, x)",
            "torch.pow(2, x)",
            "torch.lerp(x, x * 2, y)",
            "torch.lerp(x, x * 2, 0.3)",
            "torch.lerp(x, x * 2, 0.7)",
            "torch.addcmul(x, x, y)",
            "torch.addcdiv(x, x, y)"},
           {randn({2, 3, 4}), randn({3, 1})});
}

TEST(ElementwiseSchemas, Bounds) {
  checkAll({"torch.clamp_min(x, y)", "torch.clamp_max(x, y)", "torch.clamp(x, max=y)",
            "torch.clip(x, y - 1, y + 1)", "torch.clip(x, min=0.2)", "torch.clamp(z, max=2)",
            "torch.clamp(z, -1.5, 1)", "torch.clamp(z, 0)", "torch.hardtanh(z, -2, 2)",
            "torch.relu(z)"},
           {randn({2, 5}) * 2, randn({5}), randint(-5, 5, {6})});
}

TEST(ElementwiseSchemas, NegativeBases) {
  checkAll({"x ** 2", "x ** 3", "x ** -1", "x ** -2", "x ** 4", "x ** 0", "x ** 1", "x.square()",
            "x ** 2.0", "torch.pow(x, 3)", "torch.pow(x, torch.tensor(3.0))",
            "torch.pow(x, torch.tensor([1.0, 2.0, 3.0]))", "(-2.0) ** x.round()",
            "torch.pow(x, x.round())", "1 ** x", "0 ** x.abs()"},
           {randn({2, 3})});
}

TEST(ElementwiseSchemas, IntegerPowers) {
  checkAll({"x ** 2", "x ** y", "x ** 0", "2 ** y", "(-2) ** y", "x ** 2.0", "x ** 0.5",
            "torch.pow(x, 3)", "y ** y", "x.square()"},
           {randint(-3, 4, {3, 4}), randint(0, 4, {4})});
}

TEST(ElementwiseSchemas, Distances) {
  checkAll({"torch.mse_loss(x, y)", "torch.mse_loss(x, y, 2)", "torch.l1_loss(x, y, 0)",
            "torch.smooth_l1_loss(x, y, 1, 0.5)", "torch.huber_loss(x, y)",
            "torch.binary_cross_entropy(x.sigmoid(), y.sigmoid())",
            "torch.binary_cross_entropy_with_logits(x, y.sigmoid())",
            "torch.cosine_similarity(x, y, -1, 1e-6)",
            "torch.pairwise_distance(x, y, 2.0, 1e-6, True)", "torch.cdist(x, y)",
            "torch.cdist(x, y, 1.0)", "torch.cdist(x, y, float('inf'))"},
           {randn({4, 5}), randn({4, 5}), randint(0, 5, {4})});
}

TEST(ElementwiseSchemas, Conversions) {
  checkAll({"x.to(3)",
            "x.long()",
            "x.int()",
            "x.half()",
            "x.half().float()",
            "x.double() + 1",
            "(x * 3).to(1)",
            "(x.abs() * 50).to(0)",
            "y.to(1)",
            "y.to(0)",
            "y.to(2)",
            "y.float() / 3",
            "y.to(0).float()",
            "z.float()",
            "z.long() + y",
            "z.int() * 2",
            "x.type_as(y)",
            "x.to(y)",
            "y.to(x)",
            "z.to(x) * x",
            "x.to('cpu')",
            "x.cpu()",
            "x.is_floating_point()",
            "x * 2 if x.is_leaf else x",
            "x.float()",
            "y.half()",
            "x.view_as(y)",
            "torch.real(x)",
            "x.resolve_conj()",
            "x.T",
            "x.to(5).to(6)"},
           {randn({3, 4}), randint(-200, 200, {3, 4}), randbool({3, 4})});
}

} // namespace plait::frontend
