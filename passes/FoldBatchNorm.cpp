// fold-batch-norm: multiplies batch norm and per-channel factors into the weights before them.
//
//   %a = conv(x = %x, weight = const W, bias = const b)                     before
//   %b = batch_norm(x = %a, mean, variance, gamma, beta, epsilon)
//
//   %b = conv(x = %x, weight = const W s, bias = const (b - mean) s + beta) after,
//                                               s = gamma / sqrt(variance + epsilon)
//
// The layer is conv, conv_transpose or linear with constant weights. What follows it is batch_norm,
// or mul by a constant per channel. Such a factor is found behind reshapes, transposes and slices
// of the layer's result too, where it multiplies some channels: the scale of queries, where
// queries, keys and values are one layer. A weight that several operations or functions use is
// replaced only if all of them change it alike. Otherwise the factor stays where it is: folding
// would store the weight once for each of them.
//
// The arithmetic is that of torch.jit.freeze, single precision in the same order, so that a model
// and its frozen copy get equal weights, which share their bytes.
#include "passes/Channels.h"
#include "passes/Match.h"
#include "passes/Sharing.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/xxhash.h"

#include <cmath>
#include <utility>

namespace plait::passes {

using namespace mil;

namespace {

/// (y - mean) * inverse * gamma + beta, per channel.
struct Affine {
  std::vector<float> mean, inverse, gamma, beta;

  Affine() = default;
  /// y * gamma.
  explicit Affine(llvm::ArrayRef<double> factors)
      : mean(factors.size(), 0), inverse(factors.size(), 1), gamma(factors.begin(), factors.end()),
        beta(factors.size(), 0) {}

  size_t channels() const { return mean.size(); }
  float scale(size_t i) const { return gamma[i] * inverse[i]; }
  /// Of a bias. torch.jit.freeze rounds the scale first where the layer is linear.
  float apply(size_t i, float y, bool scaleFirst) const {
    float centred = y - mean[i];
    return (scaleFirst ? centred * scale(i) : centred * inverse[i] * gamma[i]) + beta[i];
  }
};

struct Candidate {
  Op *op;       ///< the batch_norm or mul
  Op *producer; ///< what it is folded into
  Affine affine;
  std::vector<double> bias;
  uint64_t weight; ///< content key of the weight
  uint64_t change; ///< equal where the weight changes alike
  Origin origin;   ///< of the scale and the shift
};

unsigned producerWeight(const Op &op) {
  return op.is(OpKind::linear) ? unsigned(linear::weight)
         : op.is(OpKind::conv) ? unsigned(conv::weight)
                               : unsigned(conv_transpose::weight);
}
unsigned producerBias(const Op &op) {
  return op.is(OpKind::linear) ? unsigned(linear::bias)
         : op.is(OpKind::conv) ? unsigned(conv::bias)
                               : unsigned(conv_transpose::bias);
}

bool isProducer(const Op *op) {
  return op && (op->is(OpKind::conv) || op->is(OpKind::conv_transpose) || op->is(OpKind::linear));
}

/// The producer of a value used once; a linear also behind what appends dimensions of one, as
/// batch norm of features is written.
Op *producerOf(Value *value, bool channelsSecond) {
  Op *op = value->hasOneUse() ? value->def() : nullptr;
  if (op && channelsSecond && (op->is(OpKind::expand_dims) || op->is(OpKind::reshape))) {
    Value *features = (*op)[0];
    auto from = features->type.shape(), to = value->type.shape();
    bool appended = from.size() == 2 && to.size() > 2 && from[0] == to[0] && from[1] == to[1] &&
                    llvm::all_of(to.drop_front(2), [](const Dim &d) { return d == Dim(1); });
    op = appended && features->hasOneUse() ? definedBy(features, OpKind::linear) : nullptr;
  } else if (op && op->is(OpKind::linear) && channelsSecond) {
    return nullptr;
  }
  return isProducer(op) ? op : nullptr;
}

/// The linear that computes `value`, behind what only moves its results, each used once: a number
/// multiplies them wherever they are.
Op *movedLinear(Value *value) {
  while (Op *op = value->hasOneUse() ? value->def() : nullptr) {
    if (op->is(OpKind::linear))
      return op;
    if (!op->is(OpKind::reshape) && !op->is(OpKind::transpose) && !op->is(OpKind::expand_dims) &&
        !op->is(OpKind::squeeze))
      return nullptr;
    value = (*op)[0];
  }
  return nullptr;
}

/// A factor below is no normal number in fp16: a weight that it multiplies loses its digits there.
constexpr double kLeastFactor = 0x1p-14;

/// The factor of each channel of the layer that `value` is made of, where `constant` multiplies it.
std::optional<std::vector<double>> factorsOf(const Channels &channels, const Value *value,
                                             const Value *constant, const PassContext &context) {
  auto factors = byChannel(channels, value, constant, 1, context);
  auto vanishes = [](double factor) { return factor != 0 && std::abs(factor) < kLeastFactor; };
  bool isHalf = context.options.precision == Precision::F16;
  return factors && isHalf && llvm::any_of(*factors, vanishes) ? std::nullopt : factors;
}

std::optional<Affine> batchNorm(const Op &op, const PassContext &context) {
  namespace n = batch_norm;
  auto mean = smallFloats(op[n::mean], context), variance = smallFloats(op[n::variance], context);
  auto epsilon = constFloat(op[n::epsilon]);
  auto gamma = op[n::gamma] ? smallFloats(op[n::gamma], context) : std::nullopt;
  auto beta = op[n::beta] ? smallFloats(op[n::beta], context) : std::nullopt;
  if (!mean || !variance || !epsilon || (op[n::gamma] && !gamma) || (op[n::beta] && !beta))
    return std::nullopt;
  Affine affine;
  affine.mean.assign(mean->begin(), mean->end());
  for (double v : *variance)
    affine.inverse.push_back(1 / std::sqrt(float(v) + float(*epsilon)));
  affine.gamma.assign(mean->size(), 1);
  if (gamma)
    affine.gamma.assign(gamma->begin(), gamma->end());
  affine.beta.assign(mean->size(), 0);
  if (beta)
    affine.beta.assign(beta->begin(), beta->end());
  return affine;
}

std::optional<Candidate> candidate(Op &op, const PassContext &context) {
  Candidate found{&op, nullptr, {}, {}, 0, 0, {}};
  if (op.is(OpKind::batch_norm)) {
    found.producer = producerOf(op[batch_norm::x], true);
    auto affine = found.producer ? batchNorm(op, context) : std::nullopt;
    if (!affine)
      return std::nullopt;
    found.affine = std::move(*affine);
  } else if (op.is(OpKind::mul)) {
    for (unsigned side : {0, 1}) {
      if (!(op[side]->type == op.result()->type))
        continue;
      Op *producer = producerOf(op[side], false);
      const TensorData *number = producer ? nullptr : constTensor(op[1 - side]);
      if (Op *moved = number && number->numElements() == 1 ? movedLinear(op[side]) : nullptr) {
        auto channels = (*moved)[linear::weight]->type.shape()[0].tryValue();
        auto factor = splatValue(*number);
        if (channels && factor) {
          found.producer = moved;
          found.affine = Affine(std::vector<double>(*channels, *factor));
          break;
        }
      }
      if (!producer) {
        auto channels = number ? ownChannels(op[side]) : std::nullopt;
        auto factors =
            channels ? factorsOf(*channels, op[side], op[1 - side], context) : std::nullopt;
        if (!factors)
          continue;
        found.producer = channels->layer;
        found.affine = Affine(*factors);
        break;
      }
      auto shape = op.result()->type.shape();
      unsigned axis = producer->is(OpKind::linear) ? shape.size() - 1 : 1;
      auto scale = alongAxis(op[1 - side], shape, axis, context);
      if (!scale)
        continue;
      found.producer = producer;
      found.affine = Affine(*scale);
      break;
    }
  }
  if (!found.producer)
    return std::nullopt;
  const TensorData *weight = constTensor((*found.producer)[producerWeight(*found.producer)]);
  Value *bias = (*found.producer)[producerBias(*found.producer)];
  auto biasValues = bias ? smallFloats(bias, context)
                         : std::optional(std::vector<double>(found.affine.channels()));
  if (!weight || !isFloat(weight->dtype()) || !biasValues ||
      biasValues->size() != found.affine.channels())
    return std::nullopt;
  found.bias = std::move(*biasValues);
  for (const Operand &operand : op.operands())
    found.origin = found.origin.with(computedFrom(operand.get()));
  std::vector<float> scale;
  for (size_t i = 0; i < found.affine.channels(); ++i)
    scale.push_back(found.affine.scale(i));
  found.change = llvm::hash_combine(
      unsigned(found.producer->kind()),
      llvm::xxh3_64bits(llvm::ArrayRef(reinterpret_cast<const uint8_t *>(scale.data()),
                                       scale.size() * sizeof(float))));
  return found;
}

/// The scale as a tensor that broadcasts over the weight.
TensorData overWeight(const Candidate &c, const TensorData &weight) {
  llvm::SmallVector<int64_t, 5> shape(weight.rank(), 1);
  std::vector<double> values;
  for (size_t i = 0; i < c.affine.channels(); ++i)
    values.push_back(c.affine.scale(i));
  if (!c.producer->is(OpKind::conv_transpose)) {
    shape[0] = values.size();
  } else {
    // [in, out / groups, …]: output channel j of group g belongs to the inputs of that group.
    int64_t groups = constInt((*c.producer)[conv_transpose::groups]).value_or(1);
    int64_t inputs = weight.shape()[0], perGroup = weight.shape()[1];
    shape[0] = groups == 1 ? 1 : inputs;
    shape[1] = perGroup;
    std::vector<double> scale = std::exchange(values, {});
    for (int64_t i = 0; i < shape[0]; ++i)
      for (int64_t j = 0; j < perGroup; ++j)
        values.push_back(scale[i / (inputs / groups) * perGroup + j]);
  }
  return floats(weight.dtype(), shape, values, c.origin);
}

void apply(Candidate &c, const PassContext &context) {
  Op &producer = *c.producer;
  Value *oldWeight = producer[producerWeight(producer)],
        *oldBias = producer[producerBias(producer)];
  const TensorData &weight = *constTensor(oldWeight);
  bool shifts = false;
  for (auto [i, bias] : llvm::enumerate(c.bias)) {
    bias = c.affine.apply(i, float(bias), producer.is(OpKind::linear));
    shifts |= bias != 0;
  }

  producer.set(
      producerWeight(producer),
      derivedConstant(&producer, multiply(weight, overWeight(c, weight), context), oldWeight));
  if (shifts) // else it is absent or zero, and stays so
  {
    TensorData bias = floats(weight.dtype(), {int64_t(c.bias.size())}, c.bias,
                             computedFrom(oldBias).with(c.origin));
    producer.set(producerBias(producer),
                 oldBias ? derivedConstant(&producer, bias, oldBias)
                         : Builder::before(&producer).constant(bias, producer.name + "_bias"));
  }
  eraseDead(oldWeight->def());
  if (oldBias)
    eraseDead(oldBias->def());
  Value *through =
      c.op->is(OpKind::mul) && constTensor((*c.op)[mul::x]) ? (*c.op)[mul::y] : (*c.op)[0];
  replaceOp(c.op, through);
}

bool round(Program &program, PassContext &context) {
  std::vector<Candidate> candidates;
  llvm::DenseMap<const Op *, bool> taken;
  walk(program, [&](Op &op) {
    auto found = candidate(op, context);
    if (found && taken.try_emplace(found->producer, true).second)
      candidates.push_back(std::move(*found));
  });
  if (candidates.empty())
    return false;
  WeightChanges changes(program, context.options.precision);
  for (Candidate &c : candidates)
    c.weight = changes.add(*constTensor((*c.producer)[producerWeight(*c.producer)]), c.change);
  bool changed = false;
  for (Candidate &c : candidates) {
    if (context.options.share && !changes.keepShared(c.weight))
      continue;
    apply(c, context);
    changed = true;
  }
  return changed;
}

} // namespace

bool foldBatchNorm(Program &program, PassContext &context) {
  bool changed = false;
  while (round(program, context))
    changed = true;
  return changed;
}

} // namespace plait::passes
