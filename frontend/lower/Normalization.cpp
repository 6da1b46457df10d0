// Batch, layer, group, instance and RMS normalisation, and weight normalisation.
#include "frontend/lower/Families.h"
#include "frontend/lower/Norm.h"

#include <cfloat>
#include <cmath>

namespace plait::frontend {

using namespace mil;

Moments moments(const Expr &x, llvm::ArrayRef<int64_t> axes) {
  Expr mean = reduce(OpKind::reduce_mean, x, axes, true);
  return {mean, reduce(OpKind::reduce_mean, unary(OpKind::square, x - mean), axes, true)};
}

static Expr inverseDeviation(const Expr &variance, double epsilon) {
  return Expr(variance.call(), variance.call().emit(OpKind::rsqrt, {{rsqrt::x, variance.value()},
                                                                    {rsqrt::epsilon, epsilon}}));
}

Expr layerNorm(const Expr &x, size_t axes, Value *gamma, Value *beta, double epsilon) {
  Call &c = x.call();
  if (!x.valid())
    return x;
  llvm::SmallVector<int64_t, 4> last;
  for (int64_t axis = x.rank() - axes; axis < x.rank(); ++axis)
    last.push_back(axis);
  // gamma and beta are operands of the operation only where they are constants.
  bool fusedGamma = gamma && isCompileTime(gamma);
  bool fusedBeta = beta && isCompileTime(beta) && (!gamma || fusedGamma);
  Expr y(c, c.emit(OpKind::layer_norm, {{layer_norm::x, x.value()},
                                        {layer_norm::axes, llvm::ArrayRef<int64_t>(last)},
                                        {layer_norm::gamma, fusedGamma ? gamma : nullptr},
                                        {layer_norm::beta, fusedBeta ? beta : nullptr},
                                        {layer_norm::epsilon, epsilon}}));
  if (gamma && !fusedGamma)
    y = y * Expr(c, gamma);
  return beta && !fusedBeta ? y + Expr(c, beta) : y;
}

namespace {
/// One value a channel, shaped to broadcast along axis 1.
Expr perChannel(Call &c, Value *value, int64_t rank) {
  if (!value->type.isTensor())
    return Expr(c, value);
  if (rank < 2)
    c.refuse(Code::OperandMismatch, "input of rank {0}; a batch and channels are needed", rank);
  Shape shape(rank, 1);
  shape[1] = numElements(value->type.shape());
  return Expr(c, c.reshape(value, shape));
}

/// y * gamma + beta along the channels; either may be absent.
Expr affine(Call &c, Expr y, const Tensor &gamma, const Tensor &beta) {
  if (!y.valid())
    return y;
  int64_t rank = y.rank();
  if (gamma)
    y = y * perChannel(c, gamma.value, rank);
  return beta ? y + perChannel(c, beta.value, rank) : y;
}

/// x with the spatial axes past the fourth axis merged: rank 5 runs on the CPU only.
Value *atMostRank4(Call &c, const Tensor &x) {
  if (x.rank() != 5)
    return x.value;
  return c.reshape(x.value, {x.size(0), x.size(1), x.size(2), x.size(3) * x.size(4)});
}

struct BatchNorm {
  Tensor gamma, beta, mean, variance;
  double epsilon;
};

/// With running statistics: MIL's batch_norm where all are constants, arithmetic otherwise.
Expr normalizeByStatistics(Call &c, const Tensor &x, const BatchNorm &norm) {
  auto constant = [](const Tensor &t) { return !t || isCompileTime(t.value); };
  if (!constant(norm.gamma) || !constant(norm.beta) || !constant(norm.mean) ||
      !constant(norm.variance)) {
    Expr y = (Expr(c, x) - perChannel(c, norm.mean.value, x.rank())) *
             inverseDeviation(perChannel(c, norm.variance.value, x.rank()), norm.epsilon);
    return affine(c, y, norm.gamma, norm.beta);
  }
  Value *in = atMostRank4(c, x);
  if (x.rank() == 2)
    in = expandDims(Expr(c, in), {2});
  Expr y(c, c.emit(OpKind::batch_norm, {{batch_norm::x, in},
                                        {batch_norm::mean, norm.mean.value},
                                        {batch_norm::variance, norm.variance.value},
                                        {batch_norm::gamma, norm.gamma.value},
                                        {batch_norm::beta, norm.beta.value},
                                        {batch_norm::epsilon, norm.epsilon}}));
  if (x.rank() == 2)
    return squeeze(y, {2});
  return x.rank() == 5 ? Expr(c, c.reshape(y, x.shape())) : y;
}

/// All axes but that of the channels.
llvm::SmallVector<int64_t, 4> batchAxes(int64_t rank) {
  llvm::SmallVector<int64_t, 4> axes = {0};
  for (int64_t axis = 2; axis < rank; ++axis)
    axes.push_back(axis);
  return axes;
}

/// The forms differ in the results they return beside the normalised tensor: saved statistics of
/// the backward pass.
void lowerBatchNorm(Call &c) {
  Tensor x = c.tensor("input");
  BatchNorm norm{c.optionalTensor("weight"), c.optionalTensor("bias"), {}, {}, c.number("eps")};
  bool stats = c.has("running_mean") && c.has("running_var");
  bool training = c.schema().argumentIndexWithName("training") && c.boolean("training");
  if (c.failed())
    return;
  if (x.rank() < 2)
    return c.refuse(Code::OperandMismatch, "input of rank {0}; 2 or more is needed", x.rank());
  if (stats && !training) {
    norm.mean = c.tensor("running_mean");
    norm.variance = c.tensor("running_var");
    if (c.failed())
      return;
    c.result(normalizeByStatistics(c, x, norm), x.dtype);
  } else {
    if (stats)
      c.warn(Code::FrozenStatistics,
             "batch_norm in training mode normalises by the batch's statistics, and its running "
             "statistics are not updated; call model.eval() before tracing if that is not meant");
    auto axes = batchAxes(x.rank());
    Moments m = moments(Expr(c, x), axes);
    Expr deviation = inverseDeviation(m.variance, norm.epsilon);
    c.result(affine(c, (Expr(c, x) - m.mean) * deviation, norm.gamma, norm.beta), x.dtype);
  }
  for (size_t i = 1; i < c.schema().returns().size(); ++i)
    c.result(Val());
}

void lowerLayerNorm(Call &c) {
  Tensor x = c.tensor("input"), gamma = c.optionalTensor("weight"), beta = c.optionalTensor("bias");
  size_t axes = c.dims("normalized_shape").size();
  double epsilon = c.number("eps");
  if (c.failed())
    return;
  Expr e(c, x);
  c.result(layerNorm(e, axes, gamma.value, beta.value, epsilon), x.dtype);
  if (c.schema().returns().size() == 1)
    return;
  llvm::SmallVector<int64_t, 4> last;
  for (int64_t axis = x.rank() - axes; axis < x.rank(); ++axis)
    last.push_back(axis);
  Moments m = moments(e, last);
  c.result(m.mean, x.dtype);
  c.result(inverseDeviation(m.variance, epsilon), x.dtype);
}

/// A group is a row of [N, groups, elements]: a layer norm over the last axis, whatever the rank.
void lowerGroupNorm(Call &c) {
  Tensor x = c.tensor("input"), gamma = c.optionalTensor("weight"), beta = c.optionalTensor("bias");
  bool native = c.schema().returns().size() > 1;
  int64_t groups = c.integer(native ? "group" : "num_groups");
  double epsilon = c.number("eps");
  if (c.failed())
    return;
  if (x.rank() < 2)
    return c.refuse(Code::OperandMismatch, "input of rank {0}; 2 or more is needed", x.rank());
  Dim elements = floordiv(x.size(1), Dim(groups));
  for (int64_t axis = 2; axis < x.rank(); ++axis)
    elements = elements * x.size(axis);
  Expr rows(c, c.reshape(x.value, {x.size(0), groups, elements}));
  Expr y = layerNorm(rows, 1, nullptr, nullptr, epsilon);
  c.result(affine(c, Expr(c, c.reshape(y, x.shape())), gamma, beta), x.dtype);
  if (!native)
    return;
  Moments m = moments(rows, {2});
  c.result(squeeze(m.mean, {2}), x.dtype);
  c.result(squeeze(inverseDeviation(m.variance, epsilon), {2}), x.dtype);
}

void lowerInstanceNorm(Call &c) {
  Tensor x = c.tensor("input");
  BatchNorm norm{c.optionalTensor("weight"), c.optionalTensor("bias"), {}, {}, c.number("eps")};
  bool inputStats = c.boolean("use_input_stats");
  if (c.failed())
    return;
  if (!inputStats) {
    norm.mean = c.tensor("running_mean");
    norm.variance = c.tensor("running_var");
    if (!c.failed())
      c.result(normalizeByStatistics(c, x, norm), x.dtype);
    return;
  }
  if (x.rank() < 3)
    return c.refuse(Code::OperandMismatch, "input of rank {0}; 3 or more is needed", x.rank());
  bool fused = (!norm.gamma || isCompileTime(norm.gamma.value)) &&
               (!norm.beta || isCompileTime(norm.beta.value));
  Expr y(c,
         c.emit(OpKind::instance_norm, {{instance_norm::x, atMostRank4(c, x)},
                                        {instance_norm::gamma, fused ? norm.gamma.value : nullptr},
                                        {instance_norm::beta, fused ? norm.beta.value : nullptr},
                                        {instance_norm::epsilon, norm.epsilon}}));
  if (x.rank() == 5)
    y = Expr(c, c.reshape(y, x.shape()));
  c.result(fused ? y : affine(c, y, norm.gamma, norm.beta), x.dtype);
}

/// x / sqrt(mean(x^2) + eps) * weight.
void lowerRmsNorm(Call &c) {
  Tensor x = c.tensor("input"), gamma = c.optionalTensor("weight");
  size_t axes = c.dims("normalized_shape").size();
  auto given = c.optionalNumber("eps");
  if (c.failed())
    return;
  double epsilon = given.value_or(x.dtype == at::kHalf ? 0x1p-10 : FLT_EPSILON);
  llvm::SmallVector<int64_t, 4> last;
  for (int64_t axis = x.rank() - axes; axis < x.rank(); ++axis)
    last.push_back(axis);
  Expr e(c, x);
  Expr inverse =
      inverseDeviation(reduce(OpKind::reduce_mean, unary(OpKind::square, e), last, true), epsilon);
  Expr y = e * inverse;
  c.result(gamma ? y * Expr(c, gamma) : y, x.dtype);
  if (c.schema().returns().size() == 2)
    c.result(inverse, x.dtype);
}

/// g * v / |v|, norms over all axes but `dim` (-1: over all).
void lowerWeightNorm(Call &c) {
  Tensor v = c.tensor("v"), g = c.tensor("g");
  int64_t dim = c.integer("dim");
  if (c.failed())
    return;
  llvm::SmallVector<int64_t, 4> axes;
  for (int64_t axis = 0; axis < v.rank(); ++axis)
    if (dim == -1 || axis != dim)
      axes.push_back(axis);
  Expr e(c, v);
  Expr norm = axes.empty() ? absolute(e) : reduce(OpKind::reduce_l2_norm, e, axes, true);
  c.result(e * (Expr(c, g) / norm), v.dtype);
  if (c.schema().returns().size() == 2)
    c.result(norm, v.dtype);
}
} // namespace

void registerNormalization(Table &table) {
  table.add({"aten::batch_norm", "aten::native_batch_norm", "aten::_native_batch_norm_legit",
             "aten::_native_batch_norm_legit.no_stats",
             "aten::_native_batch_norm_legit_no_training", "aten::_batch_norm_impl_index"},
            lowerBatchNorm);
  table.add({"aten::layer_norm", "aten::native_layer_norm"}, lowerLayerNorm);
  table.add({"aten::group_norm", "aten::native_group_norm"}, lowerGroupNorm);
  table.add({"aten::instance_norm"}, lowerInstanceNorm);
  table.add({"aten::rms_norm", "aten::_fused_rms_norm"}, lowerRmsNorm);
  table.add({"aten::_weight_norm", "aten::_weight_norm_interface"}, lowerWeightNorm);
}

} // namespace plait::frontend
