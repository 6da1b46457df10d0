// Reductions. The reduced axes are gathered into one, so that every kernel reduces the last axis
// and an empty list of axes reduces nothing (LibTorch would reduce all).
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

/// x as [kept axes…, all reduced elements].
at::Tensor collapse(const at::Tensor &x, const std::vector<int64_t> &axes) {
  std::vector<int64_t> order, shape;
  int64_t reduced = 1;
  for (int64_t i = 0; i < x.dim(); ++i)
    if (!std::binary_search(axes.begin(), axes.end(), i)) {
      order.push_back(i);
      shape.push_back(x.size(i));
    }
  for (int64_t axis : axes) {
    order.push_back(axis);
    reduced *= x.size(axis);
  }
  shape.push_back(reduced);
  return x.permute(order).reshape(shape);
}

at::Tensor restore(const at::Tensor &reduced, const at::Tensor &x, const std::vector<int64_t> &axes,
                   bool keepDims) {
  if (!keepDims)
    return reduced;
  std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
  for (int64_t axis : axes)
    shape[axis] = 1;
  return reduced.reshape(shape);
}

// All axis reductions have the parameters x, axes, keep_dims in this order.
static_assert(unsigned(reduce_sum::x) == 0 && unsigned(reduce_sum::axes) == 1 &&
              unsigned(reduce_sum::keep_dims) == 2);

/// Integers are reduced in int64, or in fp64 where the formula leaves the integers; the result is
/// truncated to the declared type.
template <auto Fn, bool Real = false> Results reduce(EvalContext &c) {
  at::Tensor x = c.value(reduce_sum::x);
  if (!x.is_floating_point())
    x = x.to(Real ? at::kDouble : at::kLong);
  std::vector<int64_t> axes = c.axes(reduce_sum::axes, x.dim());
  return restore(Fn(collapse(x, axes)), x, axes, c.boolean(reduce_sum::keep_dims));
}

at::Tensor sumOf(const at::Tensor &x) { return x.sum(-1); }
at::Tensor prodOf(const at::Tensor &x) { return x.prod(-1); }
at::Tensor meanOf(const at::Tensor &x) { return x.mean(-1); }
at::Tensor maxOf(const at::Tensor &x) { return x.amax(-1); }
at::Tensor minOf(const at::Tensor &x) { return x.amin(-1); }
at::Tensor l1Of(const at::Tensor &x) { return x.abs().sum(-1); }
at::Tensor l2Of(const at::Tensor &x) { return (x * x).sum(-1).sqrt(); }
at::Tensor squaresOf(const at::Tensor &x) { return (x * x).sum(-1); }
at::Tensor logSumOf(const at::Tensor &x) { return x.sum(-1).log(); }
at::Tensor logSumExpOf(const at::Tensor &x) { return x.logsumexp(-1); }

/// The first of equal extremes.
template <bool Max> Results argument(EvalContext &c) {
  at::Tensor x = c.value(reduce_argmax::x);
  int64_t axis = c.axis(reduce_argmax::axis, x.dim(), -1);
  bool keep = c.boolean(reduce_argmax::keep_dims);
  return Max ? at::argmax(x, axis, keep) : at::argmin(x, axis, keep);
}
static_assert(unsigned(reduce_argmax::keep_dims) == unsigned(reduce_argmin::keep_dims));

} // namespace

void registerReduction(Registry &r) {
  r.add(OpKind::reduce_argmax, argument<true>);
  r.add(OpKind::reduce_argmin, argument<false>);
  r.add(OpKind::reduce_l1_norm, reduce<l1Of>);
  r.add(OpKind::reduce_l2_norm, reduce<l2Of, true>);
  r.add(OpKind::reduce_log_sum, reduce<logSumOf, true>);
  r.add(OpKind::reduce_log_sum_exp, reduce<logSumExpOf, true>);
  r.add(OpKind::reduce_max, reduce<maxOf>);
  r.add(OpKind::reduce_mean, reduce<meanOf, true>);
  r.add(OpKind::reduce_min, reduce<minOf>);
  r.add(OpKind::reduce_prod, reduce<prodOf>);
  r.add(OpKind::reduce_sum, reduce<sumOf>);
  r.add(OpKind::reduce_sum_square, reduce<squaresOf>);
}

} // namespace plait::runtime
