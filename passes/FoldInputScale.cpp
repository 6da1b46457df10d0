// fold-input-scale: takes the scale and the shift of an input into the first convolution.
//
//   %a = mul(x = %photo, y = const s)                          before: [1, C, 1, 1] or a number
//   %b = add(x = %a, y = const c)
//   %y = conv(x = %b, weight = const W, bias = const b)
//
//   %y = conv(x = %photo, weight = const W s, bias = const b + sum of W c)      after
//
// Any chain of mul, add and sub by constants, one number or one a channel, of an input or of a cast
// of one. Zeros that the convolution pads with are no pixels: they would not get the shift, so with
// padding there must be none. A weight that several operations or functions use is replaced only if
// all of them change it alike.
//
// In fp16 it is done where nothing is lost: the input holds pixels or fp16, and W s is not too
// small. Below 2^-14 fp16 has fewer digits; in each output channel that must be less than what
// rounding takes off the largest product. The
// sum is of the products as fp16 rounds them.
#include "passes/Match.h"
#include "passes/Rewrite.h"
#include "passes/Sharing.h"
#include "support/Half.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/xxhash.h"

#include <cmath>

namespace plait::passes {

using namespace mil;

/// Weights of first convolutions are read up to this size; those of 16 x 16 patches are 2.4 MB.
static constexpr uint64_t kWeightBytes = 8 << 20;

namespace {

struct InputScale {
  Op *layer;
  Value *input;                            ///< what the convolution takes instead
  std::vector<double> scale, shift;        ///< of each channel of it
  llvm::SmallVector<Value *, 4> constants; ///< that they are from
  uint64_t weight = 0;                     ///< content key
  uint64_t change = 0;                     ///< equal where the weight changes alike

  bool scales() const {
    return llvm::any_of(scale, [](double s) { return s != 1; });
  }
  bool shifts() const {
    return llvm::any_of(shift, [](double s) { return s != 0; });
  }
};

} // namespace

static bool isInput(const Value *value) {
  return !value->def() && !value->block()->parentOp() && !value->type.isState();
}

/// Whether fp16 holds whatever the input holds.
static bool fitsHalf(const Function &function, const Value *value) {
  const Value *input = value->def() ? (*value->def())[cast::x] : value;
  if (input->type.dtype() == DType::F16)
    return true;
  for (auto [i, one] : llvm::enumerate(function.inputs()))
    if (one.get() == input)
      return function.infoOfInput(i).image.has_value();
  return false;
}

static bool pads(const Op &conv) {
  auto type = constString(conv[conv::pad_type]);
  auto amounts = constInts(conv[conv::pad]);
  return type != "valid" &&
         (type != "custom" || !amounts || llvm::any_of(*amounts, [](int64_t n) { return n != 0; }));
}

/// scale * input + shift, from the convolution up to the input.
static std::optional<InputScale> inputScaleOf(Op &conv, const PassContext &context) {
  Value *value = conv[conv::x];
  auto channels = value->type.rank() > 1 ? value->type.shape()[1].tryValue() : std::nullopt;
  const TensorData *weight = constTensor(conv[conv::weight]);
  if (!channels || !weight || !isFloat(weight->dtype()) ||
      (conv[conv::bias] && !constTensor(conv[conv::bias])))
    return std::nullopt;
  InputScale found{&conv,
                   nullptr,
                   std::vector<double>(size_t(*channels), 1),
                   std::vector<double>(size_t(*channels), 0),
                   {}};
  while (Op *op = value->def()) {
    if (op->is(OpKind::cast))
      break;
    bool isMul = op->is(OpKind::mul), isSub = op->is(OpKind::sub);
    if (!value->hasOneUse() || !(isMul || isSub || op->is(OpKind::add)))
      return std::nullopt;
    unsigned side = constTensor((*op)[0]) && !isSub ? 1 : 0; // of what is not the constant
    if (!((*op)[side]->type == value->type))
      return std::nullopt;
    auto numbers = alongAxis((*op)[1 - side], value->type.shape(), 1, context);
    if (!numbers || numbers->size() != found.scale.size())
      return std::nullopt;
    for (auto [number, scale, shift] : llvm::zip(*numbers, found.scale, found.shift)) {
      if (isMul)
        scale *= number;
      else
        shift += (isSub ? -scale : scale) * number;
    }
    found.constants.push_back((*op)[1 - side]);
    value = (*op)[side];
  }
  bool fromInput = isInput(value) || (value->def() && isInput((*value->def())[cast::x]));
  if (!fromInput || found.constants.empty() || (found.shifts() && pads(conv)))
    return std::nullopt;
  if (context.options.precision == Precision::F16 && !fitsHalf(*conv.function(), value))
    return std::nullopt;
  found.input = value;
  found.change = llvm::xxh3_64bits(llvm::ArrayRef(
      reinterpret_cast<const uint8_t *>(found.scale.data()), found.scale.size() * sizeof(double)));
  return found;
}

/// The channel of the input that weight[out, in, …] multiplies.
static size_t channelOf(const Op &conv, llvm::ArrayRef<int64_t> weight, int64_t out, int64_t in) {
  int64_t groups = constInt(conv[conv::groups]).value_or(1);
  return size_t(out / (weight[0] / groups) * weight[1] + in);
}

/// The bias with what the shift gives of it, one number an output channel. Nullopt where fp16 would
/// hold the products less well than the weight.
static std::optional<std::vector<double>> newBias(const InputScale &c, const PassContext &context) {
  const TensorData &weight = *constTensor((*c.layer)[conv::weight]);
  llvm::ArrayRef<int64_t> shape = weight.shape();
  auto values = smallFloats(weight, context, kWeightBytes);
  auto bias = (*c.layer)[conv::bias] ? smallFloats((*c.layer)[conv::bias], context)
                                     : std::optional(std::vector<double>(size_t(shape[0])));
  if (!values || !bias || values->size() == 0 || bias->size() != size_t(shape[0]))
    return std::nullopt;
  bool half = context.options.precision == Precision::F16;
  size_t taps = values->size() / size_t(shape[0] * shape[1]);
  const double *next = values->data();
  for (int64_t out = 0; out < shape[0]; ++out) {
    double largest = 0, &sum = (*bias)[size_t(out)];
    for (int64_t in = 0; in < shape[1]; ++in) {
      size_t channel = channelOf(*c.layer, shape, out, in);
      for (size_t tap = 0; tap < taps; ++tap, ++next) {
        float scale = float(c.scale[channel]), product = float(*next) * scale;
        largest = std::max(largest, std::abs(double(product)));
        // As the weight is rounded, so that it is no matter where the shift lies beside the scale.
        double factor =
            half && scale != 0 ? double(halfToFloat(floatToHalf(product))) / scale : *next;
        sum += factor * c.shift[channel];
      }
    }
    // Rounding takes up to 2^-25 off one of this size, and as much off all that are small.
    bool tooSmall = c.scales() && largest != 0 && largest < std::ldexp(1, -13);
    if (!std::isfinite(sum) || !std::isfinite(largest) ||
        (half && (tooSmall || largest > 65504 || std::abs(sum) > 65504)))
      return std::nullopt;
  }
  return bias;
}

static void foldInto(const InputScale &c, std::vector<double> bias, const PassContext &context) {
  Op &conv = *c.layer;
  Value *oldWeight = conv[conv::weight], *oldBias = conv[conv::bias], *before = conv[conv::x];
  const TensorData weight = *constTensor(oldWeight);
  Origin origin;
  for (Value *constant : c.constants)
    origin = origin.with(computedFrom(constant));
  if (c.shifts()) {
    TensorData shifted = floats(weight.dtype(), {int64_t(bias.size())}, bias,
                                computedFrom({oldWeight, oldBias}).with(origin));
    conv.set(conv::bias, oldBias ? derivedConstant(&conv, shifted, oldBias)
                                 : Builder::before(&conv).constant(shifted, conv.name + "_bias"));
  }
  if (c.scales()) {
    llvm::SmallVector<int64_t, 5> shape(weight.rank(), 1);
    shape[0] = constInt(conv[conv::groups]).value_or(1) == 1 ? 1 : weight.shape()[0];
    shape[1] = weight.shape()[1];
    std::vector<double> factors;
    for (int64_t out = 0; out < shape[0]; ++out)
      for (int64_t in = 0; in < shape[1]; ++in)
        factors.push_back(c.scale[channelOf(conv, weight.shape(), out, in)]);
    conv.set(conv::weight,
             derivedConstant(
                 &conv, multiply(weight, floats(weight.dtype(), shape, factors, origin), context),
                 oldWeight));
    eraseDead(oldWeight->def());
  }
  conv.set(conv::x, c.input);
  eraseDead(before->def());
  if (c.shifts() && oldBias)
    eraseDead(oldBias->def());
}

bool foldInputScale(Program &program, PassContext &context) {
  std::vector<InputScale> candidates;
  walk(program, [&](Op &op) {
    if (!op.is(OpKind::conv))
      return;
    if (auto found = inputScaleOf(op, context))
      candidates.push_back(std::move(*found));
  });
  if (candidates.empty())
    return false;
  WeightChanges changes(program, context.options.precision);
  for (InputScale &c : candidates)
    c.weight = changes.add(*constTensor((*c.layer)[conv::weight]), c.change);
  bool changed = false;
  for (const InputScale &c : candidates) {
    if (context.options.share && c.scales() && !changes.keepShared(c.weight))
      continue;
    auto bias = newBias(c, context);
    if (!bias)
      continue;
    foldInto(c, std::move(*bias), context);
    changed = true;
  }
  return changed;
}

} // namespace plait::passes
