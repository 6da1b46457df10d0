// limit-rank: gather and scatter, products of matrices, attention.
#include "passes/LimitRank.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// `labels[begin, end)` become `label`.
void setLabels(RankRewrite::Labels &labels, size_t begin, size_t end, int label) {
  for (size_t axis = begin; axis < end; ++axis)
    labels[axis] = label;
}

/// Batch axes, axes before the indexed one, that one, axes behind it.
RankRewrite::Labels indexedLabels(size_t rank, size_t batch, size_t axis) {
  RankRewrite::Labels labels(rank, 0);
  setLabels(labels, batch, axis, 1);
  labels[axis] = AxisGroups::kAlone;
  setLabels(labels, axis + 1, rank, 2);
  return labels;
}

RankResults lowerGatherRank(RankRewrite &r) {
  auto x = r.shape(gather::x), indices = r.shape(gather::indices);
  auto axis = r.axis(gather::axis, x.size());
  size_t batch = constInt(r.op[gather::batch_dims]).value_or(0);
  if (!axis || size_t(*axis) < batch)
    return {};
  AxisGroups groups(x, indexedLabels(x.size(), batch, *axis));
  // All indices of one batch are one axis.
  Dim batches = numElements(x.take_front(batch));
  bool batched = batch > 0 && !(batches == Dim(1));
  Dim count = numElements(indices.drop_front(batch));
  Shape flat = batched ? Shape{batches, count} : Shape{count};
  return {r.againOne({Arg(gather::x, r.view(r.op[gather::x], groups.coarse(x))),
                      Arg(gather::indices, r.view(r.op[gather::indices], flat)),
                      Arg(gather::axis, int64_t(*groups.of(*axis))),
                      Arg(gather::batch_dims, int64_t(batched))})};
}

RankResults lowerScatterRank(RankRewrite &r) {
  auto data = r.shape(scatter::data), indices = r.shape(scatter::indices);
  auto axis = r.axis(scatter::axis, data.size());
  if (!axis)
    return {};
  AxisGroups groups(data, indexedLabels(data.size(), 0, *axis));
  unsigned at = *groups.of(*axis);
  Dim count = numElements(indices);
  Shape coarse = groups.coarse(data), updates = coarse;
  updates[at] = count;
  return {r.againOne({Arg(scatter::data, r.view(r.op[scatter::data], coarse)),
                      Arg(scatter::indices, r.view(r.op[scatter::indices], {count})),
                      Arg(scatter::updates, r.view(r.op[scatter::updates], updates)),
                      Arg(scatter::axis, int64_t(at))})};
}

/// gather_along_axis and scatter_along_axis: all tensors agree but along the axis.
RankResults lowerAlongAxisIndices(RankRewrite &r, llvm::ArrayRef<unsigned> tensors,
                                  unsigned axisParam) {
  auto shape = r.shape(tensors[0]);
  auto axis = r.axis(axisParam, shape.size());
  if (!axis)
    return {};
  AxisGroups groups(shape, indexedLabels(shape.size(), 0, *axis));
  llvm::SmallVector<Arg, 4> args{Arg(axisParam, int64_t(*groups.of(*axis)))};
  for (unsigned param : tensors) {
    Shape own(shape);
    own[*axis] = r.shape(param)[*axis];
    args.push_back(Arg(param, r.view(r.op[param], groups.coarse(own))));
  }
  return {r.againOne(args)};
}

RankResults lowerGatherAlongRank(RankRewrite &r) {
  using namespace gather_along_axis;
  return lowerAlongAxisIndices(r, {x, indices}, axis);
}
RankResults lowerScatterAlongRank(RankRewrite &r) {
  using namespace scatter_along_axis;
  return lowerAlongAxisIndices(r, {data, indices, updates}, axis);
}

/// gather_nd and scatter_nd: batch axes, `depth` axes that are indexed, the others.
struct NdGroups {
  AxisGroups data;
  Shape indices;
  bool batched;
};
std::optional<NdGroups> ndGroups(llvm::ArrayRef<Dim> data, llvm::ArrayRef<Dim> indices,
                                 size_t batch) {
  auto depth = indices.back().tryValue();
  if (!depth || batch + *depth > data.size())
    return std::nullopt;
  RankRewrite::Labels labels(data.size(), 0);
  setLabels(labels, batch, batch + *depth, AxisGroups::kAlone);
  setLabels(labels, batch + *depth, data.size(), 1);
  AxisGroups groups(data, labels);
  Dim batches = numElements(data.take_front(batch));
  bool batched = batch > 0 && !(batches == Dim(1));
  Dim count = numElements(indices.drop_front(batch).drop_back());
  Shape flat = batched ? Shape{batches, count, *depth} : Shape{count, *depth};
  if (groups.size() > kMaxRank)
    return std::nullopt;
  return NdGroups{groups, flat, batched};
}

RankResults lowerGatherNdRank(RankRewrite &r) {
  using namespace gather_nd;
  auto groups = ndGroups(r.shape(x), r.shape(indices), constInt(r.op[batch_dims]).value_or(0));
  if (!groups)
    return {};
  return {r.againOne({Arg(x, r.view(r.op[x], groups->data.coarse(r.shape(x)))),
                      Arg(indices, r.view(r.op[indices], groups->indices)),
                      Arg(batch_dims, int64_t(groups->batched))})};
}

RankResults lowerScatterNdRank(RankRewrite &r) {
  using namespace scatter_nd;
  auto groups = ndGroups(r.shape(data), r.shape(indices), 0);
  if (!groups)
    return {};
  Shape coarse = groups->data.coarse(r.shape(data));
  size_t depth = r.shape(indices).back().value();
  Shape updated{groups->indices[0]};
  llvm::append_range(updated, llvm::drop_begin(coarse, depth));
  return {r.againOne({Arg(data, r.view(r.op[data], coarse)),
                      Arg(indices, r.view(r.op[indices], groups->indices)),
                      Arg(updates, r.view(r.op[updates], updated))})};
}

// ---- products -----------------------------------------------------------------------------------

/// Operands that are batches of matrices, and broadcast along the batch axes: these are grouped.
RankResults lowerBatches(RankRewrite &r, llvm::ArrayRef<unsigned> operands) {
  size_t rank = r.resultShape().size();
  auto batch = r.resultShape().drop_back(2);
  RankRewrite::Labels labels(rank, 0);
  for (auto [i, param] : llvm::enumerate(operands)) {
    if (!r.op[param])
      continue;
    auto own = r.shape(param);
    if (own.size() < 2 || own.size() > rank)
      return {};
    size_t missing = rank - own.size();
    for (size_t axis = missing; axis < batch.size(); ++axis)
      if (own[axis - missing] == batch[axis])
        labels[axis] |= 1 << i;
      else if (!(own[axis - missing] == Dim(1)))
        return {};
  }
  labels[rank - 1] = labels[rank - 2] = AxisGroups::kAlone;
  // Attention has a batch axis.
  if (r.op.is(OpKind::scaled_dot_product_attention) && numElements(batch) == Dim(1))
    labels[0] = AxisGroups::kAlone;
  Shape whole(r.resultShape());
  AxisGroups groups(whole, labels);
  if (groups.size() > kMaxRank)
    return {};
  llvm::SmallVector<Arg, 4> args;
  for (unsigned param : operands) {
    if (!r.op[param])
      continue;
    Shape padded(rank - r.shape(param).size(), Dim(1));
    llvm::append_range(padded, r.shape(param));
    args.push_back(Arg(param, r.view(r.op[param], groups.coarse(padded))));
  }
  return {r.againOne(args)};
}

RankResults lowerMatmulRank(RankRewrite &r) { return lowerBatches(r, {matmul::x, matmul::y}); }

RankResults lowerAttentionRank(RankRewrite &r) {
  namespace sdpa = scaled_dot_product_attention;
  return lowerBatches(r, {sdpa::query, sdpa::key, sdpa::value, sdpa::attn_mask});
}

/// A linear of rank 6 and more works on rows.
RankResults lowerLinearRank(RankRewrite &r) {
  auto shape = r.shape(linear::x);
  Dim rows = numElements(shape.drop_back());
  return {r.againOne({Arg(linear::x, r.view(r.op[linear::x], {rows, shape.back()}))})};
}

} // namespace

RankRule indexRankRule(OpKind kind) {
  switch (kind) {
  case OpKind::gather:
    return lowerGatherRank;
  case OpKind::scatter:
    return lowerScatterRank;
  case OpKind::gather_along_axis:
    return lowerGatherAlongRank;
  case OpKind::scatter_along_axis:
    return lowerScatterAlongRank;
  case OpKind::gather_nd:
    return lowerGatherNdRank;
  case OpKind::scatter_nd:
    return lowerScatterNdRank;
  case OpKind::matmul:
    return lowerMatmulRank;
  case OpKind::scaled_dot_product_attention:
    return lowerAttentionRank;
  case OpKind::linear:
    return lowerLinearRank;
  default:
    return nullptr;
  }
}

} // namespace plait::passes
