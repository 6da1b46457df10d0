// limit-rank: rewrites what computes on tensors of rank 6 and more, which no device loads.
//
//   %a = reshape(x = %x, shape = [1, 7, 2, 7, 2, 8])       before: rank 6
//   %b = transpose(x = %a, perm = [0, 1, 3, 2, 4, 5])
//   %c = reshape(x = %b, shape = [49, 4, 8])
//
//   %a = reshape(x = %x, shape = [7, 2, 7, 16])            after: what moves together is one axis
//   %b = transpose(x = %a, perm = [0, 2, 1, 3])
//   %c = reshape(x = %b, shape = [49, 4, 8])
//
// Every operation is made again by itself, on reshaped operands, and its result is reshaped to what
// it was; an operation that follows takes the tensor from before that reshape. What is left of high
// rank after the walk has no use. A transpose of more than five axes that move apart becomes two or
// more with a reshape between them.
//
// An operation stays where no rule knows it, where its coarse form has more than five axes still,
// or where a shape has several sizes that are not known and no input shows. Inputs and outputs of
// functions stay as they are.
#include "passes/LimitRank.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

Shape joinedShape(llvm::ArrayRef<Dim> shape) {
  Shape joined(shape.take_back(kMaxRank));
  joined[0] = numElements(shape.drop_back(kMaxRank - 1));
  return joined;
}

namespace {

bool isHigh(const Value *value) {
  return value && value->type.isTensor() && value->type.rank() > kMaxRank;
}

// ---- elementwise --------------------------------------------------------------------------------

/// The shape of the tensor that `x` is a reshape of, so that nothing is reshaped where nothing must
/// be; nullopt where that has too many axes as well.
std::optional<Shape> sourceShape(const Value *x) {
  while (isHigh(x)) {
    x = reshapeSource(x);
    if (!x)
      return std::nullopt;
  }
  return Shape(x->type.shape());
}

Shape plainShape(const Value *x) {
  auto shape = sourceShape(x);
  return shape ? *shape : joinedShape(x->type.shape());
}

RankResults lowerUnaryRank(RankRewrite &r) {
  return {r.againOne({Arg(0, r.view(r.op[0], plainShape(r.op[0])))})};
}

/// Every bit an operand that has the axis in full; nullopt where sizes do not tell.
std::optional<RankRewrite::Labels> broadcastLabels(llvm::ArrayRef<Value *> operands,
                                                   llvm::ArrayRef<Dim> shape) {
  RankRewrite::Labels labels(shape.size(), 0);
  for (auto [i, operand] : llvm::enumerate(operands)) {
    auto own = operand->type.shape();
    for (size_t k = 0; k < own.size(); ++k) {
      size_t axis = shape.size() - own.size() + k;
      if (own[k] == shape[axis])
        labels[axis] |= 1 << i;
      else if (!(own[k] == Dim(1)))
        return std::nullopt;
    }
  }
  return labels;
}

/// `operand` as it broadcasts to the groups of a result of `rank` axes.
Value *broadcastView(RankRewrite &r, Value *operand, const AxisGroups &groups, unsigned rank) {
  Shape padded(rank - operand->type.rank(), Dim(1));
  llvm::append_range(padded, operand->type.shape());
  return r.view(operand, groups.coarse(padded));
}

/// `x` repeated to `shape`, as a tensor of no more axes than its pattern of repetitions has.
Value *repeatTo(RankRewrite &r, Value *x, llvm::ArrayRef<Dim> shape) {
  Shape padded(shape.size() - x->type.rank(), Dim(1));
  llvm::append_range(padded, x->type.shape());
  RankRewrite::Labels labels;
  for (auto [from, to] : llvm::zip(padded, shape))
    labels.push_back(from == to ? 0 : 1);
  AxisGroups groups(shape, labels);
  // One axis at a time: before, 1, behind.
  Value *value = x;
  Shape current = groups.coarse(padded), target = groups.coarse(shape);
  for (size_t i = 0; i < current.size(); ++i) {
    if (current[i] == target[i])
      continue;
    if (!target[i].isConst())
      return r.builder.poison();
    llvm::ArrayRef<Dim> sizes = current;
    value = r.view(
        value, {numElements(sizes.take_front(i)), Dim(1), numElements(sizes.drop_front(i + 1))});
    value =
        r.builder.emit(OpKind::tile, {{tile::x, value}, {tile::reps, {1, target[i].value(), 1}}});
    current[i] = target[i];
  }
  return value;
}

RankResults lowerBroadcastRank(RankRewrite &r) {
  llvm::SmallVector<Value *, 3> operands;
  for (const Operand &operand : r.op.operands())
    operands.push_back(operand.get());
  auto shape = r.resultShape();
  auto labels = broadcastLabels(operands, shape);
  if (!labels)
    return {};
  auto isOne = [](const Value *value) { return numElements(value->type.shape()) == Dim(1); };
  auto oneView = [&](Value *value) {
    return value->type.rank() <= kMaxRank ? value : r.view(value, {Dim(1)});
  };
  int full = 0;
  for (auto [i, operand] : llvm::enumerate(operands))
    full |= isOne(operand) ? 0 : 1 << i;
  llvm::SmallVector<Arg, 3> args;
  auto withViews = [&](llvm::function_ref<Value *(Value *)> view) -> RankResults {
    for (auto [i, operand] : llvm::enumerate(operands))
      args.push_back(Arg(i, isOne(operand) ? oneView(operand) : view(operand)));
    return {r.againOne(args)};
  };
  bool alike = llvm::all_of(llvm::enumerate(*labels), [&](auto axis) {
    return axis.value() == full || shape[axis.index()] == Dim(1);
  });
  if (alike) {
    Shape plain = joinedShape(shape);
    for (Value *operand : llvm::reverse(operands))
      if (auto source = isOne(operand) ? std::nullopt : sourceShape(operand))
        plain = *source;
    return withViews([&](Value *operand) { return r.view(operand, plain); });
  }
  AxisGroups groups(shape, *labels);
  if (groups.size() <= kMaxRank)
    return withViews(
        [&](Value *operand) { return broadcastView(r, operand, groups, shape.size()); });
  // The operands vary along too many axes by turns.
  Dim count = numElements(shape);
  return withViews([&](Value *operand) { return r.view(repeatTo(r, operand, shape), {count}); });
}

// ---- reshapes and transposes --------------------------------------------------------------------

/// A reshape between two low ranks through a high one. To a high rank it stays: what comes next
/// looks through it.
RankResults lowerReshapeRank(RankRewrite &r) {
  if (isHigh(r.op.result()) || !reshapeSource(r.op[0]))
    return {};
  return {r.view(r.op[0], r.resultShape())};
}

RankResults lowerReshapeLikeRank(RankRewrite &r) { return {r.view(r.op[0], r.resultShape())}; }

RankResults lowerTransposeRank(RankRewrite &r) {
  auto perm = constInts(r.op[transpose::perm]);
  if (!perm)
    return {};
  RankRewrite::Ints axes;
  for (int64_t axis : *perm)
    axes.push_back(normalAxis(axis, perm->size()));
  return {r.transposed(r.op[transpose::x], Shape(r.shape(transpose::x)), axes)};
}

/// The sizes themselves, without the tensor.
RankResults lowerShapeRank(RankRewrite &r) { return {r.sizes(r.shape(mil::shape::x))}; }

RankResults lowerFillRank(RankRewrite &r) {
  return {r.againOne({Arg(0, r.sizes(joinedShape(r.resultShape())))})};
}

} // namespace

RankRule elementwiseRankRule(OpKind kind) {
  switch (kind) {
  case OpKind::reverse:
  case OpKind::band_part:
  case OpKind::local_response_norm: // they have the shape of x, but look at axes
    return nullptr;
  case OpKind::cast:
  case OpKind::clip:
  case OpKind::gelu:
  case OpKind::fill_like:
    return lowerUnaryRank;
  case OpKind::select:
    return lowerBroadcastRank;
  case OpKind::reshape:
  case OpKind::squeeze:
  case OpKind::expand_dims:
    return lowerReshapeRank;
  case OpKind::flatten2d:
  case OpKind::reshape_like:
    return lowerReshapeLikeRank;
  case OpKind::transpose:
    return lowerTransposeRank;
  case OpKind::shape:
    return lowerShapeRank;
  case OpKind::fill:
  case OpKind::random_bernoulli:
  case OpKind::random_normal:
  case OpKind::random_uniform:
    return lowerFillRank;
  default:
    break;
  }
  InferFn infer = info(kind).infer;
  if (infer == info(OpKind::relu).infer)
    return lowerUnaryRank;
  if (infer == info(OpKind::add).infer || infer == info(OpKind::equal).infer)
    return lowerBroadcastRank;
  return nullptr;
}

bool limitRank(Program &program, PassContext &) {
  bool changed = limitRegionRanks(program);
  walk(program, [&](Op &op) {
    if (llvm::none_of(op.operands(), [](const Operand &operand) { return isHigh(operand); }) &&
        llvm::none_of(op.results(), [](const auto &result) { return isHigh(result.get()); }))
      return;
    for (auto family : {elementwiseRankRule, axesRankRule, indexRankRule}) {
      RankRule rule = family(op.kind());
      if (!rule)
        continue;
      RankRewrite rewrite(op);
      if (rewrite.finish(rule(rewrite))) {
        eraseDead(&op);
        changed = true;
      }
      return;
    }
  });
  return changed;
}

} // namespace plait::passes
