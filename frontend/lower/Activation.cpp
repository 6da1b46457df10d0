// Activation functions, softmax and their relatives.
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"

#include <ATen/Functions.h>
#include <cmath>

namespace plait::frontend {

using namespace mil;

/// x with integers promoted to float, as all of these compute.
static Tensor floatSelf(Call &c, llvm::StringRef name = "self") {
  Tensor x = c.tensor(name);
  return c.failed() ? x : toFloat(c, x);
}

static void lowerRelu(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  Expr e(c, x);
  c.result(x.isFloat() ? unary(OpKind::relu, e) : maximum(e, 0), x.dtype);
}

/// min(max(x, low), high) of a float or an integer tensor.
static Expr bounded(Call &c, const Tensor &x, double low, double high) {
  Expr e(c, x);
  return x.isFloat() ? clamp(e, low, high) : minimum(maximum(e, low), high);
}

static void lowerRelu6(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  c.result(x.isFloat() ? unary(OpKind::relu6, Expr(c, x)) : bounded(c, x, 0, 6), x.dtype);
}

static void lowerHardtanh(Call &c) {
  Tensor x = c.tensor("self");
  double low = c.number("min_val"), high = c.number("max_val");
  if (c.failed())
    return;
  c.result(bounded(c, x, low, high), x.dtype);
}

static Expr leakyRelu(const Expr &x, double slope) {
  return Expr(x.call(), x.call().emit(OpKind::leaky_relu,
                                      {{leaky_relu::x, x.value()}, {leaky_relu::alpha, slope}}));
}

static void lowerLeakyRelu(Call &c) {
  Tensor x = floatSelf(c);
  double slope = c.number("negative_slope");
  if (!c.failed())
    c.result(leakyRelu(Expr(c, x), slope), x.dtype);
}

static void lowerRrelu(Call &c) {
  Tensor x = floatSelf(c);
  if (c.boolean("training"))
    return c.refuse(Code::TrainingMode,
                    "rrelu in training mode draws random slopes; call model.eval() before tracing");
  double slope = (c.number("lower") + c.number("upper")) / 2;
  if (!c.failed())
    c.result(leakyRelu(Expr(c, x), slope), x.dtype);
}

static Expr eluOf(const Expr &x, double alpha) {
  return Expr(x.call(), x.call().emit(OpKind::elu, {{elu::x, x.value()}, {elu::alpha, alpha}}));
}

/// x where positive, else alpha * (exp(inner * x) - 1).
static Expr scaledElu(const Expr &x, double alpha, double inner) {
  if (inner == 1)
    return eluOf(x, alpha);
  if (inner > 0)
    return unary(OpKind::relu, x) + eluOf(minimum(x * inner, 0.0), alpha);
  // The exponent of a negative x is positive: MIL's operation does not go there.
  return unary(OpKind::relu, x) + (exponential(minimum(x, 0.0) * inner) - 1.0) * alpha;
}

static void lowerElu(Call &c) {
  Tensor x = floatSelf(c);
  double alpha = c.number("alpha"), scale = c.number("scale"), inner = c.number("input_scale");
  if (c.failed())
    return;
  Expr y = scaledElu(Expr(c, x), alpha, inner);
  c.result(scale == 1 ? y : y * scale, x.dtype);
}

static void lowerSelu(Call &c) {
  Tensor x = floatSelf(c);
  if (!c.failed())
    c.result(eluOf(Expr(c, x), 1.6732632423543772848) * 1.0507009873554804934, x.dtype);
}

static void lowerCelu(Call &c) {
  Tensor x = floatSelf(c);
  double alpha = c.number("alpha");
  if (c.failed())
    return;
  Expr e(c, x);
  if (alpha < 0)
    return c.result(scaledElu(e, alpha, 1 / alpha), x.dtype);
  c.result(alpha == 1 ? eluOf(e, 1) : eluOf(e / alpha, 1) * alpha, x.dtype);
}

static void lowerGelu(Call &c) {
  Tensor x = floatSelf(c);
  std::string approximate = c.string("approximate");
  if (approximate != "none" && approximate != "tanh")
    return c.refuse(Code::UnsupportedForm, "approximate is '{0}'; known are 'none' and 'tanh'",
                    approximate);
  if (!c.failed())
    c.result(c.emit(OpKind::gelu,
                    {{gelu::x, x.value},
                     {gelu::mode, approximate == "tanh" ? "TANH_APPROXIMATION" : "EXACT"}}),
             x.dtype);
}

static void lowerSoftplus(Call &c) {
  Tensor x = floatSelf(c);
  double beta = c.number("beta"), threshold = c.number("threshold");
  if (c.failed())
    return;
  Expr e(c, x);
  Expr scaled = beta == 1 ? e : e * beta;
  Expr y = unary(OpKind::softplus, scaled);
  if (beta != 1)
    y = y / beta;
  // Beyond 15, x and softplus(x) are equal in single precision.
  if (threshold < 15)
    y = select(greater(scaled, threshold), e, y);
  c.result(y, x.dtype);
}

static void lowerMish(Call &c) {
  Tensor x = floatSelf(c);
  if (c.failed())
    return;
  Expr e(c, x);
  c.result(e * unary(OpKind::tanh, unary(OpKind::softplus, e)), x.dtype);
}

static Expr sigmoidHard(const Expr &x) {
  return Expr(x.call(), x.call().emit(OpKind::sigmoid_hard, {{sigmoid_hard::x, x.value()},
                                                             {sigmoid_hard::alpha, 1.0 / 6},
                                                             {sigmoid_hard::beta, 0.5}}));
}

static void lowerHardsigmoid(Call &c) {
  Tensor x = floatSelf(c);
  if (!c.failed())
    c.result(sigmoidHard(Expr(c, x)), x.dtype);
}

static void lowerHardswish(Call &c) {
  Tensor x = floatSelf(c);
  if (c.failed())
    return;
  Expr e(c, x);
  c.result(e * sigmoidHard(e), x.dtype);
}

static void lowerHardshrink(Call &c) {
  Tensor x = floatSelf(c);
  double lambda = c.number("lambd");
  if (c.failed())
    return;
  Expr e(c, x);
  c.result(e * castTo(greater(absolute(e), lambda), DType::F32), x.dtype);
}

static void lowerSoftshrink(Call &c) {
  Tensor x = floatSelf(c);
  double lambda = c.number("lambd");
  if (c.failed())
    return;
  Expr e(c, x);
  c.result(e - clamp(e, -lambda, lambda), x.dtype);
}

static void lowerThreshold(Call &c) {
  Tensor x = c.tensor("self");
  double threshold = c.number("threshold"), value = c.number("value");
  if (c.failed())
    return;
  Expr e(c, x);
  if (threshold == 0 && value == 0 && x.isFloat())
    return c.result(unary(OpKind::relu, e), x.dtype);
  c.result(select(greater(e, threshold), e, value), x.dtype);
}

static void lowerPrelu(Call &c) {
  Tensor x = floatSelf(c), weight = c.tensor("weight");
  if (c.failed())
    return;
  Expr e(c, x);
  auto elements = numElements(weight.shape()).tryValue();
  at::Tensor known = c.knownTensor("weight");
  // Not MIL's operations: what they give for an infinite slope at 0 is not said.
  bool isInfinite = known.defined() && !at::isfinite(known).all().item<bool>();
  if (elements == 1 && known.defined() && !isInfinite)
    return c.result(leakyRelu(e, known.item<double>()), x.dtype);
  if (!isInfinite && elements != 1 && x.rank() == 4 && weight.rank() == 1 &&
      isCompileTime(weight.value))
    return c.result(c.emit(OpKind::prelu, {{prelu::x, x.value}, {prelu::alpha, weight.value}}),
                    x.dtype);
  // One slope a channel; Core ML's own operation takes other ranks only for equal slopes.
  Shape shape;
  if (weight.rank() <= 1)
    for (int64_t axis = 0; axis < x.rank(); ++axis)
      shape.push_back(axis == 1 && elements != 1 ? x.size(1) : Dim(1));
  else
    shape.assign(weight.shape().begin(), weight.shape().end());
  Expr slope(c, c.reshape(weight.value, shape));
  // A choice, not a sum: an infinite slope times 0 is no number.
  c.result(select(greater(e, 0.0), e, slope * e), x.dtype);
}

static void lowerGlu(Call &c) {
  Tensor x = floatSelf(c);
  if (c.failed())
    return;
  int64_t axis = c.axis("dim", x.rank());
  if (c.failed())
    return;
  Op *halves =
      c.create(OpKind::split, {{split::x, x.value}, {split::num_splits, 2}, {split::axis, axis}});
  if (halves)
    c.result(Expr(c, halves->result(0)) * sigmoidOf(Expr(c, halves->result(1))), x.dtype);
}

/// log(sigmoid(x)); the second result of the _forward form is a buffer of the backward pass.
static void lowerLogSigmoid(Call &c) {
  Tensor x = floatSelf(c);
  if (c.failed())
    return;
  c.result(-unary(OpKind::softplus, -Expr(c, x)), x.dtype);
  if (c.schema().returns().size() == 2)
    c.result(Val());
}

static void lowerLogit(Call &c) {
  Tensor x = floatSelf(c);
  auto epsilon = c.optionalNumber("eps");
  if (c.failed())
    return;
  Expr e(c, x);
  if (!epsilon || *epsilon < 0)
    return c.result(logarithm(e / (1 - e)), x.dtype);
  // Both sides are bounded from below: 1 - epsilon may be 1 in half precision.
  auto side = [&](const Expr &p) { return logarithm(clamp(p, *epsilon, 1 - *epsilon)); };
  c.result(side(e) - side(1 - e), x.dtype);
}

/// The argument of a softmax: in `dtype` where given, at least rank 1, and its axis.
static std::pair<Tensor, int64_t> softmaxArgument(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return {x, 0};
  if (c.has("dtype"))
    x = c.cast(x, *c.optionalDType("dtype"));
  x = toFloat(c, x);
  return {x, c.axis("dim", std::max<int64_t>(x.rank(), 1))};
}

static void lowerSoftmax(Call &c) {
  auto [x, axis] = softmaxArgument(c);
  if (c.failed())
    return;
  if (x.rank() == 0)
    return c.result(c.full({}, DType::F32, 1), x.dtype);
  c.result(c.emit(OpKind::softmax, {{softmax::x, x.value}, {softmax::axis, axis}}), x.dtype);
}

/// x - log(sum(exp(x))): the logarithm of MIL's softmax would underflow. The sum is rounded as far
/// as the largest number of the row was.
static void lowerLogSoftmax(Call &c) {
  auto [x, axis] = softmaxArgument(c);
  if (c.failed())
    return;
  if (x.rank() == 0)
    return c.result(c.full({}, DType::F32, 0), x.dtype);
  Expr e(c, x);
  c.result(e - reduce(OpKind::reduce_log_sum_exp, e, axis, true), x.dtype);
}

/// In evaluation the engine drops them.
static void refuseDropout(Call &c) {
  c.refuse(Code::TrainingMode,
           "dropout in training mode draws random numbers; call model.eval() before tracing or "
           "scripting");
}

void registerActivation(Table &table) {
  table.add({"aten::relu"}, lowerRelu);
  table.add({"aten::relu6"}, lowerRelu6);
  table.add({"aten::dropout", "aten::feature_dropout", "aten::alpha_dropout",
             "aten::feature_alpha_dropout", "aten::native_dropout"},
            refuseDropout);
  table.add({"aten::hardtanh"}, lowerHardtanh);
  table.add({"aten::leaky_relu"}, lowerLeakyRelu);
  table.add({"aten::rrelu"}, lowerRrelu);
  table.add({"aten::elu"}, lowerElu);
  table.add({"aten::selu"}, lowerSelu);
  table.add({"aten::celu"}, lowerCelu);
  table.add({"aten::gelu"}, lowerGelu);
  table.add({"aten::softplus"}, lowerSoftplus);
  table.add({"aten::mish"}, lowerMish);
  table.add({"aten::hardsigmoid"}, lowerHardsigmoid);
  table.add({"aten::hardswish"}, lowerHardswish);
  table.add({"aten::hardshrink"}, lowerHardshrink);
  table.add({"aten::softshrink"}, lowerSoftshrink);
  table.add({"aten::threshold"}, lowerThreshold);
  table.add({"aten::prelu", "aten::_prelu_kernel"}, lowerPrelu);
  table.add({"aten::glu"}, lowerGlu);
  table.add({"aten::log_sigmoid", "aten::log_sigmoid_forward"}, lowerLogSigmoid);
  table.add({"aten::logit", "aten::special_logit"}, lowerLogit);
  table.add({"aten::softmax.int", "aten::_softmax", "aten::special_softmax"}, lowerSoftmax);
  table.add({"aten::log_softmax.int", "aten::_log_softmax", "aten::special_log_softmax"},
            lowerLogSoftmax);
}

} // namespace plait::frontend
