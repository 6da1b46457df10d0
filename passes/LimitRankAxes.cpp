// limit-rank: operations along axes (reductions, softmax, sorts), slices, repetition, padding, and
// joins.
#include "mil/Infer.h"
#include "passes/LimitRank.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"

namespace plait::passes {

using namespace mil;

namespace {

constexpr int kBefore = 0, kAt = 1, kBehind = 2; // labels

/// Labels around one axis, which stays an axis of its own.
RankRewrite::Labels around(int64_t axis, size_t rank) {
  RankRewrite::Labels labels(rank, kBefore);
  labels[axis] = AxisGroups::kAlone;
  for (size_t i = axis + 1; i < rank; ++i)
    labels[i] = kBehind;
  return labels;
}

// ---- along one axis -----------------------------------------------------------------------------

/// x and the results have the same axes; results may differ in the size of `axis`.
RankResults lowerAlongAxis(RankRewrite &r, unsigned x, unsigned axisParam) {
  auto axis = r.axis(axisParam, r.shape(x).size());
  if (!axis)
    return {};
  AxisGroups groups(r.shape(x), around(*axis, r.shape(x).size()));
  Op *made = r.again({Arg(x, r.view(r.op[x], groups.coarse(r.shape(x)))),
                      Arg(axisParam, int64_t(*groups.of(*axis)))});
  RankResults results;
  for (unsigned i = 0; made && i < made->numResults(); ++i)
    results.push_back(made->result(i));
  return results;
}

RankResults lowerSoftmaxRank(RankRewrite &r) {
  return lowerAlongAxis(r, softmax::x, softmax::axis);
}
RankResults lowerCumsumRank(RankRewrite &r) { return lowerAlongAxis(r, cumsum::x, cumsum::axis); }
RankResults lowerArgsortRank(RankRewrite &r) {
  return lowerAlongAxis(r, argsort::x, argsort::axis);
}
RankResults lowerTopkRank(RankRewrite &r) { return lowerAlongAxis(r, topk::x, topk::axis); }
RankResults lowerArgmaxRank(RankRewrite &r) {
  return lowerAlongAxis(r, reduce_argmax::x, reduce_argmax::axis);
}
RankResults lowerSplitRank(RankRewrite &r) { return lowerAlongAxis(r, split::x, split::axis); }
RankResults lowerWindowsRank(RankRewrite &r) {
  return lowerAlongAxis(r, sliding_windows::x, sliding_windows::axis);
}

RankResults lowerOneHotRank(RankRewrite &r) {
  auto shape = r.resultShape();
  auto axis = r.axis(one_hot::axis, shape.size());
  if (!axis)
    return {};
  AxisGroups groups(shape, around(*axis, shape.size()));
  Shape indices = groups.coarse(shape);
  unsigned at = *groups.of(*axis);
  indices.erase(indices.begin() + at);
  if (indices.empty())
    indices.push_back(1);
  return {r.againOne({Arg(one_hot::indices, r.view(r.op[one_hot::indices], indices)),
                      Arg(one_hot::axis, int64_t(at))})};
}

RankResults lowerConcatRank(RankRewrite &r) {
  auto shape = r.resultShape();
  bool stacks = r.op.is(OpKind::stack);
  auto axis = r.axis(stacks ? unsigned(stack::axis) : unsigned(concat::axis), shape.size());
  if (!axis || (!stacks && constBool(r.op[concat::interleave]).value_or(false)))
    return {};
  AxisGroups groups(shape, around(*axis, shape.size()));
  llvm::SmallVector<Value *, 4> values;
  for (const Operand &operand : r.op.operands(0)) {
    Shape own(shape);
    own[*axis] = stacks ? Dim(1) : operand->type.shape()[*axis];
    values.push_back(r.view(operand, groups.coarse(own)));
  }
  return {r.builder.emit(OpKind::concat, {Arg(concat::values, values),
                                          {concat::axis, int64_t(*groups.of(*axis))},
                                          {concat::interleave, false}})};
}

RankResults lowerReverseRank(RankRewrite &r) {
  auto shape = r.shape(reverse::x);
  auto axes = constInts(r.op[reverse::axes]);
  // Two neighbours that are both reversed are reversed as one axis.
  RankRewrite::Labels labels(shape.size(), axes ? kBefore : kAt);
  for (size_t i = 0; axes && i < axes->size(); ++i)
    labels[normalAxis((*axes)[i], shape.size())] = kAt;
  AxisGroups groups(shape, labels);
  RankRewrite::Ints reversed;
  for (size_t i = 0; i < groups.size(); ++i)
    if (!groups[i].empty() && labels[groups[i][0]] == kAt)
      reversed.push_back(i);
  Value *x = r.view(r.op[reverse::x], groups.coarse(shape));
  return {reversed.empty() ? x : r.againOne({Arg(reverse::x, x), Arg(reverse::axes, reversed)})};
}

RankResults lowerBandRank(RankRewrite &r) {
  auto shape = r.shape(band_part::x);
  RankRewrite::Labels labels(shape.size(), kBefore);
  labels[shape.size() - 1] = labels[shape.size() - 2] = AxisGroups::kAlone;
  AxisGroups groups(shape, labels);
  return {r.againOne({Arg(band_part::x, r.view(r.op[band_part::x], groups.coarse(shape)))})};
}

RankResults lowerPreluRank(RankRewrite &r) {
  auto shape = r.shape(prelu::x);
  RankRewrite::Labels labels(shape.size(), kBehind);
  labels[0] = labels[1] = AxisGroups::kAlone; // channels are axis 1
  labels[2] = AxisGroups::kAlone;             // at least three axes
  AxisGroups groups(shape, labels);
  return {r.againOne({Arg(prelu::x, r.view(r.op[prelu::x], groups.coarse(shape)))})};
}

// ---- reductions ---------------------------------------------------------------------------------

RankResults lowerReduceRank(RankRewrite &r) {
  using namespace reduce_sum; // all reductions have these parameters
  auto shape = r.shape(x);
  auto given = constInts(r.op[axes]);
  RankRewrite::Labels labels(shape.size(), given ? kBefore : kAt);
  for (size_t i = 0; given && i < given->size(); ++i)
    labels[normalAxis((*given)[i], shape.size())] = kAt;
  // One axis is left to reduce where all have one element: square, abs and log happen there too.
  auto isReduced = [&](size_t axis) { return labels[axis] == kAt; };
  auto positions = llvm::seq<size_t>(0, shape.size());
  if (llvm::none_of(positions,
                    [&](size_t axis) { return isReduced(axis) && !(shape[axis] == Dim(1)); }))
    for (size_t axis : positions)
      if (isReduced(axis)) {
        labels[axis] = AxisGroups::kAlone;
        break;
      }
  AxisGroups groups(shape, labels);
  bool scalar = r.resultShape().empty();
  if (groups.size() > kMaxRank) {
    RankRewrite::Ints order;
    Dim kept = 1, gone = 1;
    for (size_t axis : positions)
      if (!isReduced(axis)) {
        order.push_back(axis);
        kept = kept * shape[axis];
      }
    for (size_t axis : positions)
      if (isReduced(axis)) {
        order.push_back(axis);
        gone = gone * shape[axis];
      }
    Value *moved = r.transposed(r.op[x], Shape(shape), order);
    return {r.againOne({Arg(x, r.view(moved, {kept, gone})), {axes, {1}}, {keep_dims, true}})};
  }
  RankRewrite::Ints reduced;
  for (size_t i = 0; i < groups.size(); ++i)
    if (!groups[i].empty() && labels[groups[i][0]] != kBefore)
      reduced.push_back(i);
  return {r.againOne(
      {Arg(x, r.view(r.op[x], groups.coarse(shape))), Arg(axes, reduced), {keep_dims, !scalar}})};
}

RankResults lowerLayerNormRank(RankRewrite &r) {
  using namespace layer_norm;
  auto shape = r.shape(x);
  auto given = constInts(r.op[axes]);
  if (!given || given->empty())
    return {};
  RankRewrite::Ints sorted;
  for (int64_t axis : *given)
    sorted.push_back(normalAxis(axis, shape.size()));
  for (size_t i = 1; i < sorted.size(); ++i)
    if (sorted[i] != sorted[i - 1] + 1)
      return {};
  RankRewrite::Labels labels(shape.size(), kBefore);
  Dim count = 1;
  for (int64_t axis = sorted[0]; axis < int64_t(shape.size()); ++axis)
    labels[axis] = axis <= sorted.back() ? kAt : kBehind;
  for (int64_t axis : sorted)
    count = count * shape[axis];
  if (count == Dim(1))
    labels[sorted[0]] = AxisGroups::kAlone;
  AxisGroups groups(shape, labels);
  int64_t at = -1;
  for (size_t i = 0; i < groups.size(); ++i)
    if (!groups[i].empty() && int64_t(groups[i][0]) >= sorted[0] &&
        int64_t(groups[i][0]) <= sorted.back())
      at = i;
  llvm::SmallVector<Arg, 4> args{Arg(x, r.view(r.op[x], groups.coarse(shape))), Arg(axes, {at})};
  for (unsigned param : {gamma, beta})
    if (r.op[param])
      args.push_back(Arg(param, r.view(r.op[param], {count})));
  return {r.againOne(args)};
}

// ---- slices -------------------------------------------------------------------------------------

/// What a slice does with each axis.
struct SliceAxes {
  RankRewrite::Labels labels;
  RankRewrite::Bools squeezed;
};

bool flag(const std::optional<llvm::SmallVector<int64_t, 8>> &mask, size_t axis) {
  return mask && (*mask)[axis];
}

/// Parameters of slice_by_index and slice_update have the same names.
struct SliceParams {
  unsigned begin, end, stride, beginMask, endMask, squeezeMask;
  explicit SliceParams(const Op &op) {
    auto param = [&](const char *name) { return *op.info().findParam(name); };
    begin = param("begin"), end = param("end"), stride = param("stride");
    beginMask = param("begin_mask"), endMask = param("end_mask");
    squeezeMask = param("squeeze_mask");
  }
};

SliceAxes sliceAxes(const Op &op, const SliceParams &params, llvm::ArrayRef<Dim> shape) {
  auto begin = dimValues(op[params.begin]), end = dimValues(op[params.end]);
  auto stride = constInts(op[params.stride]), beginMask = constInts(op[params.beginMask]),
       endMask = constInts(op[params.endMask]), squeeze = constInts(op[params.squeezeMask]);
  SliceAxes axes;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    bool whole = (!stride || (*stride)[axis] == 1) && !flag(squeeze, axis) &&
                 (flag(beginMask, axis) || (begin && (*begin)[axis] == Dim(0))) &&
                 (flag(endMask, axis) || (end && (*end)[axis] == shape[axis]));
    axes.labels.push_back(whole ? kBefore : AxisGroups::kAlone);
    axes.squeezed.push_back(flag(squeeze, axis));
  }
  return axes;
}

/// Bounds of a slice for each group: those of axes that stand alone, and all of the others.
void addSliceBounds(RankRewrite &r, const SliceParams &params, const AxisGroups &groups,
                    const SliceAxes &axes, llvm::SmallVectorImpl<Arg> &args) {
  auto isWhole = [&](size_t group) {
    return groups[group].empty() || axes.labels[groups[group][0]] == kBefore;
  };
  RankRewrite::Ints first;
  for (size_t i = 0; i < groups.size(); ++i)
    first.push_back(groups[i].empty() ? 0 : groups[i][0]);
  auto numbers = [&](unsigned param, int64_t whole) {
    auto values = constInts(r.op[param]);
    if (!values) {
      args.push_back(Arg(param, r.pick(r.op[param], first)));
      return;
    }
    RankRewrite::Ints picked;
    for (size_t i = 0; i < groups.size(); ++i)
      picked.push_back(isWhole(i) ? whole : (*values)[first[i]]);
    args.push_back(Arg(param, picked));
  };
  auto masks = [&](unsigned param, bool whole) {
    auto values = constInts(r.op[param]);
    RankRewrite::Bools picked;
    for (size_t i = 0; i < groups.size(); ++i)
      picked.push_back(isWhole(i) ? whole : flag(values, first[i]));
    args.push_back(Arg(param, llvm::ArrayRef<bool>(picked)));
  };
  numbers(params.begin, 0);
  numbers(params.end, 0);
  if (r.op[params.stride])
    numbers(params.stride, 1);
  masks(params.beginMask, true);
  masks(params.endMask, true);
  masks(params.squeezeMask, false);
}

RankResults lowerSliceRank(RankRewrite &r) {
  auto shape = r.shape(slice_by_index::x);
  SliceParams params(r.op);
  SliceAxes axes = sliceAxes(r.op, params, shape);
  AxisGroups groups(shape, axes.labels);
  if (groups.size() > kMaxRank)
    return {};
  llvm::SmallVector<Arg, 8> args{
      Arg(slice_by_index::x, r.view(r.op[slice_by_index::x], groups.coarse(shape)))};
  addSliceBounds(r, params, groups, axes, args);
  return {r.againOne(args)};
}

RankResults lowerSliceUpdateRank(RankRewrite &r) {
  auto shape = r.shape(slice_update::x);
  SliceParams params(r.op);
  SliceAxes axes = sliceAxes(r.op, params, shape);
  AxisGroups groups(shape, axes.labels);
  if (groups.size() > kMaxRank || llvm::is_contained(axes.squeezed, true))
    return {};
  llvm::SmallVector<Arg, 8> args{
      Arg(slice_update::x, r.view(r.op[slice_update::x], groups.coarse(shape))),
      Arg(slice_update::update,
          r.view(r.op[slice_update::update], groups.coarse(r.shape(slice_update::update))))};
  addSliceBounds(r, params, groups, axes, args);
  return {r.againOne(args)};
}

RankResults lowerSliceBySizeRank(RankRewrite &r) {
  using namespace slice_by_size;
  auto shape = r.shape(x);
  auto begins = dimValues(r.op[begin]);
  auto sizes = constInts(r.op[size]);
  RankRewrite::Labels labels;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    bool whole = r.resultShape()[axis] == shape[axis] &&
                 (shape[axis] == Dim(1) || (begins && (*begins)[axis] == Dim(0)));
    labels.push_back(whole ? kBefore : AxisGroups::kAlone);
  }
  AxisGroups groups(shape, labels);
  if (groups.size() > kMaxRank || !sizes)
    return {};
  RankRewrite::Ints first, taken;
  for (size_t i = 0; i < groups.size(); ++i) {
    bool whole = groups[i].empty() || labels[groups[i][0]] == kBefore;
    first.push_back(groups[i].empty() ? 0 : groups[i][0]);
    taken.push_back(whole ? -1 : (*sizes)[first.back()]);
  }
  auto known = constInts(r.op[begin]);
  RankRewrite::Ints from;
  for (int64_t axis : first)
    from.push_back(known ? (*known)[axis] : 0);
  return {r.againOne({Arg(x, r.view(r.op[x], groups.coarse(shape))),
                      known ? Arg(begin, from) : Arg(begin, r.pick(r.op[begin], first)),
                      Arg(size, taken)})};
}

// ---- repetition and padding ---------------------------------------------------------------------

RankResults lowerTileRank(RankRewrite &r) {
  auto shape = r.shape(tile::x), result = r.resultShape();
  auto reps = dimValues(r.op[tile::reps]);
  if (!reps)
    return {};
  // Axes that are not repeated go with the one before them.
  RankRewrite::Labels labels;
  int label = kBefore;
  for (size_t axis = 0; axis < shape.size(); ++axis)
    labels.push_back((*reps)[axis] == Dim(1) ? label : ++label);
  AxisGroups groups(result, labels);
  if (groups.size() > kMaxRank)
    return {};
  RankRewrite::Ints first, counts;
  for (size_t i = 0; i < groups.size(); ++i) {
    first.push_back(groups[i].empty() ? 0 : groups[i][0]);
    counts.push_back(groups[i].empty() ? 1 : (*reps)[first.back()].tryValue().value_or(0));
  }
  bool known = !llvm::is_contained(counts, 0);
  return {r.againOne(
      {Arg(tile::x, r.view(r.op[tile::x], groups.coarse(shape))),
       known ? Arg(tile::reps, counts) : Arg(tile::reps, r.pick(r.op[tile::reps], first))})};
}

RankResults lowerPadRank(RankRewrite &r) {
  auto shape = r.shape(pad::x);
  auto amounts = constInts(r.op[pad::pad]);
  if (!amounts)
    return {};
  size_t first = shape.size() - amounts->size() / 2;
  auto amount = [&](size_t axis, int side) {
    return axis < first ? 0 : (*amounts)[2 * (axis - first) + side];
  };
  RankRewrite::Labels labels;
  for (size_t axis = 0; axis < shape.size(); ++axis)
    labels.push_back(amount(axis, 0) || amount(axis, 1) ? AxisGroups::kAlone : kBefore);
  AxisGroups groups(shape, labels);
  if (groups.size() > kMaxRank)
    return {};
  RankRewrite::Ints coarse;
  for (size_t i = 0; i < groups.size(); ++i)
    for (int side : {0, 1})
      coarse.push_back(groups[i].empty() ? 0 : amount(groups[i][0], side));
  return {
      r.againOne({Arg(pad::x, r.view(r.op[pad::x], groups.coarse(shape))), Arg(pad::pad, coarse)})};
}

} // namespace

RankRule axesRankRule(OpKind kind) {
  switch (kind) {
  case OpKind::softmax:
    return lowerSoftmaxRank;
  case OpKind::cumsum:
    return lowerCumsumRank;
  case OpKind::argsort:
    return lowerArgsortRank;
  case OpKind::topk:
    return lowerTopkRank;
  case OpKind::reduce_argmax:
  case OpKind::reduce_argmin:
    return lowerArgmaxRank;
  case OpKind::split:
    return lowerSplitRank;
  case OpKind::sliding_windows:
    return lowerWindowsRank;
  case OpKind::one_hot:
    return lowerOneHotRank;
  case OpKind::concat:
  case OpKind::stack:
    return lowerConcatRank;
  case OpKind::reverse:
    return lowerReverseRank;
  case OpKind::band_part:
    return lowerBandRank;
  case OpKind::prelu:
    return lowerPreluRank;
  case OpKind::layer_norm:
    return lowerLayerNormRank;
  case OpKind::slice_by_index:
    return lowerSliceRank;
  case OpKind::slice_update:
    return lowerSliceUpdateRank;
  case OpKind::slice_by_size:
    return lowerSliceBySizeRank;
  case OpKind::tile:
    return lowerTileRank;
  case OpKind::pad:
    return lowerPadRank;
  default:
    return info(kind).infer == info(OpKind::reduce_sum).infer ? lowerReduceRank : nullptr;
  }
}

} // namespace plait::passes
