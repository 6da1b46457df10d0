// Coarser shapes, views of tensors under them, and transposes of many axes in steps.
#include "passes/LimitRank.h"

#include "mil/InputSizes.h"
#include "mil/Materialise.h"
#include "mil/Reshape.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/bit.h"

#include <numeric>

namespace plait::passes {

using namespace mil;

// ---- groups of axes -----------------------------------------------------------------------------

AxisGroups::AxisGroups(llvm::ArrayRef<Dim> shape, llvm::ArrayRef<int> labels) {
  assert(shape.size() == labels.size());
  std::optional<int> open; // the label of the last group, where it can be continued
  for (unsigned axis = 0; axis < shape.size(); ++axis) {
    bool alone = labels[axis] == kAlone;
    if (!alone && shape[axis] == Dim(1))
      continue;
    if (!alone && open == labels[axis])
      groups_.back().push_back(axis);
    else
      groups_.push_back({axis});
    open = alone ? std::nullopt : std::optional(labels[axis]);
  }
  if (groups_.empty())
    groups_.emplace_back();
}

std::optional<unsigned> AxisGroups::of(unsigned axis) const {
  for (auto [i, group] : llvm::enumerate(groups_))
    if (llvm::is_contained(group, axis))
      return i;
  return std::nullopt;
}

Shape AxisGroups::coarse(llvm::ArrayRef<Dim> shape) const {
  Shape result;
  for (const auto &group : groups_) {
    Dim size = 1;
    for (unsigned axis : group)
      size = size * shape[axis];
    result.push_back(size);
  }
  return result;
}

// ---- views --------------------------------------------------------------------------------------

Value *reshapeSource(const Value *value) {
  for (OpKind kind : {OpKind::reshape, OpKind::squeeze, OpKind::expand_dims})
    if (Op *op = definedBy(value, kind))
      return (*op)[0];
  return nullptr;
}

std::optional<int64_t> RankRewrite::axis(unsigned param, unsigned rank) const {
  auto axis = constInt(op[param]);
  return axis ? std::optional(normalAxis(*axis, rank)) : std::nullopt;
}

Value *RankRewrite::symbolValue(llvm::StringRef name) {
  if (auto source = sourceOfSize(*op.function(), name))
    return sizeFrom(builder, *source);
  return builder.poison();
}

Value *RankRewrite::view(Value *x, llvm::ArrayRef<Dim> shape) {
  // A reshape takes 0 as a copy of a size.
  if (Builder::isPoison(x) || llvm::is_contained(shape, Dim(0)))
    return builder.poison();
  while (x->type.rank() > kMaxRank && reshapeSource(x))
    x = reshapeSource(x);
  auto known = constShape(shape);
  if (const TensorData *tensor = constTensor(x); tensor && known && x->type.shape() != shape)
    return builder.constant(tensor->reshape(*known), x->name);
  return reshapeTo(builder, x, shape,
                   [&](llvm::ArrayRef<Dim> symbolic) { return sizes(symbolic); });
}

Value *RankRewrite::sizes(llvm::ArrayRef<Dim> shape) {
  return materialise(builder, shape, [&](llvm::StringRef name) { return symbolValue(name); });
}

// ---- the operation once more --------------------------------------------------------------------

Op *RankRewrite::again(llvm::ArrayRef<Arg> changed) {
  llvm::SmallVector<Arg, 8> args(changed.begin(), changed.end());
  for (unsigned param = 0; param < op.numParams(); ++param) {
    if (llvm::any_of(changed, [&](const Arg &arg) { return arg.param == param; }))
      continue;
    llvm::SmallVector<Value *, 4> values;
    for (const Operand &operand : op.operands(param))
      values.push_back(operand.get());
    if (!values.empty())
      args.push_back(Arg(param, values));
  }
  return builder.create(op.kind(), args);
}

Value *RankRewrite::againOne(llvm::ArrayRef<Arg> changed) {
  Op *made = again(changed);
  return made ? made->result() : builder.poison();
}

Value *RankRewrite::pick(Value *vector, llvm::ArrayRef<int64_t> axes) {
  return builder.emit(OpKind::gather, {{gather::x, vector},
                                       {gather::indices, axes},
                                       {gather::axis, 0},
                                       {gather::validate_indices, false}});
}

RankRewrite::RankRewrite(Op &op)
    : op(op), builder(Builder::before(&op)),
      previous_(&op == &op.parent()->front() ? nullptr : &*std::prev(op.getIterator())) {}

bool RankRewrite::finish(llvm::ArrayRef<Value *> coarse) {
  llvm::SmallVector<std::pair<unsigned, Value *>, 2> finished;
  bool failed = coarse.size() != op.numResults();
  for (auto [i, value] : llvm::enumerate(coarse)) {
    if (failed)
      break;
    if (!op.result(i)->hasUses())
      continue;
    Value *result = view(value, resultShape(i));
    // An output of the function needs a value that can carry its name.
    if (!Builder::isPoison(result) && !canReplace(op.result(i), result))
      result = builder.emit(OpKind::identity, {{identity::x, result}});
    failed |= Builder::isPoison(result) || result->type.dtype() != op.result(i)->type.dtype();
    finished.push_back({i, result});
  }
  failed |= builder.failed();
  llvm::consumeError(builder.takeError());
  if (failed) {
    auto last = [&] {
      return &op == &op.parent()->front() ? nullptr : &*std::prev(op.getIterator());
    };
    while (last() != previous_)
      last()->erase();
    return false;
  }
  for (auto [i, value] : finished)
    replaceUses(op.result(i), value);
  return true;
}

// ---- transposes in steps ------------------------------------------------------------------------

using Order = llvm::SmallVector<unsigned, 8>;

/// How many runs of neighbours `order` consists of: the rank of the transpose that makes it.
static unsigned runsIn(llvm::ArrayRef<unsigned> order) {
  unsigned runs = order.empty() ? 0 : 1;
  for (size_t i = 1; i < order.size(); ++i)
    runs += order[i] != order[i - 1] + 1;
  return runs;
}

/// Where each element of `target` stands in `current`.
static Order positionsIn(llvm::ArrayRef<unsigned> current, llvm::ArrayRef<unsigned> target) {
  Order positions;
  for (unsigned axis : target)
    positions.push_back(llvm::find(current, axis) - current.begin());
  return positions;
}

/// One transpose of at most kMaxRank blocks of neighbouring axes: the order that it makes of the
/// axes, the one from which `target` is nearest.
static Order bestStep(llvm::ArrayRef<unsigned> target) {
  unsigned count = target.size(), least = ~0u;
  Order best;
  // Bit i of `cuts`: a block begins at axis i + 1. Fewer blocks first.
  for (unsigned blocks = 2; blocks <= kMaxRank; ++blocks)
    for (unsigned cuts = 0; cuts < 1u << (count - 1); ++cuts) {
      if (unsigned(llvm::popcount(cuts)) != blocks - 1)
        continue;
      llvm::SmallVector<std::pair<unsigned, unsigned>, kMaxRank> bounds; // [begin, end)
      unsigned begin = 0;
      for (unsigned i = 0; i < count; ++i)
        if (i + 1 == count || (cuts >> i & 1)) {
          bounds.push_back({begin, i + 1});
          begin = i + 1;
        }
      Order permutation(blocks);
      std::iota(permutation.begin(), permutation.end(), 0);
      while (std::next_permutation(permutation.begin(), permutation.end())) {
        Order order;
        for (unsigned block : permutation)
          for (unsigned axis = bounds[block].first; axis < bounds[block].second; ++axis)
            order.push_back(axis);
        if (unsigned runs = runsIn(positionsIn(order, target)); runs < least) {
          least = runs;
          best = order;
        }
      }
    }
  return best;
}

Value *RankRewrite::transposed(Value *x, Shape shape, Ints perm) {
  Order target;
  for (int64_t axis : perm)
    if (!(shape[axis] == Dim(1)))
      target.push_back(axis);
  // Numbered without the axes of one element.
  Order kept = target;
  llvm::sort(kept);
  Shape sizes;
  for (unsigned axis : kept)
    sizes.push_back(shape[axis]);
  target = positionsIn(kept, target);
  constexpr size_t kMaxAxes = 12; // the search is exponential
  if (target.size() > kMaxAxes)
    return builder.poison();
  while (runsIn(target) > 1) {
    Order order = runsIn(target) <= kMaxRank ? target : bestStep(target);
    // The blocks of `order`, in the order of their axes.
    llvm::SmallVector<std::pair<unsigned, unsigned>, kMaxRank> blocks; // first axis, place
    for (size_t i = 0; i < order.size(); ++i)
      if (i == 0 || order[i] != order[i - 1] + 1)
        blocks.push_back({order[i], unsigned(blocks.size())});
    llvm::sort(blocks);
    Shape coarse;
    Ints blockPerm(blocks.size());
    for (auto [i, block] : llvm::enumerate(blocks)) {
      Dim size = 1;
      unsigned end = i + 1 < blocks.size() ? blocks[i + 1].first : unsigned(sizes.size());
      for (unsigned axis = block.first; axis < end; ++axis)
        size = size * sizes[axis];
      coarse.push_back(size);
      blockPerm[block.second] = int64_t(i);
    }
    x = builder.emit(OpKind::transpose,
                     {{transpose::x, view(x, coarse)}, Arg(transpose::perm, blockPerm)});
    Shape moved;
    for (unsigned axis : order)
      moved.push_back(sizes[axis]);
    sizes = moved;
    target = positionsIn(order, target);
  }
  return x;
}

} // namespace plait::passes
