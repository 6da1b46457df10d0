// fold-lora: keeps a LoRA branch without its scale, or merges it into the weight.
//
//   %y = linear(x = %x, weight = const W, bias = const b)                   before
//   %h = linear(x = %x, weight = const A [r, in], bias = 0)
//   %d = linear(x = %h, weight = const B [out, r], bias = 0)
//   %s = mul(x = %d, y = 0.5)
//   %z = add(x = %y, y = %s)
//
//   %y = linear(x = %x, weight = const W, bias = const b)                   after, keep
//   %h = linear(x = %x, weight = const A, bias = 0)
//   %d = linear(x = %h, weight = const 0.5 B, bias = 0)
//   %z = add(x = %y, y = %d)
//
//   %z = linear(x = %x, weight = const W + 0.5 B A, bias = const b)         after, fold
//
// The scale may stand before A, between A and B or after B, more than once, with casts anywhere.
// Keeping, it goes into the smaller of A and B that no one else uses, or whose users all scale it
// alike; where there is none the multiplication stays. Folding, W becomes the function's own. A
// base conv takes a branch of a conv of its own geometry and a 1x1 conv; a base gather (an
// embedding) one of a gather with the same indices and a linear.
#include "passes/Match.h"
#include "passes/Rewrite.h"
#include "passes/Sharing.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// A chain upwards through float casts and scalar factors, each used once.
struct Scaled {
  Value *source;
  double factor = 1;
  llvm::SmallVector<Op *, 4> factors; ///< the multiplications, from the last upwards
};

Scaled strip(Value *value) {
  Scaled chain{value, 1, {}};
  while (Op *op = chain.source->hasOneUse() ? chain.source->def() : nullptr) {
    if (op->is(OpKind::cast) && isFloat((*op)[cast::x]->type.dtype()) &&
        isFloat(op->result()->type.dtype())) {
      chain.source = (*op)[cast::x];
      continue;
    }
    if (!op->is(OpKind::mul))
      break;
    unsigned constantSide = constTensor((*op)[mul::x]) ? 0 : 1;
    const TensorData *scalar = constTensor((*op)[constantSide]);
    std::optional<double> factor = scalar ? splatValue(*scalar) : std::nullopt;
    if (!factor || !((*op)[1 - constantSide]->type == op->result()->type))
      break;
    chain.factor *= *factor;
    chain.factors.push_back(op);
    chain.source = (*op)[1 - constantSide];
  }
  return chain;
}

Value *withoutCasts(Value *value) {
  while (Op *op = definedBy(value, OpKind::cast)) {
    if (!isFloat((*op)[cast::x]->type.dtype()) || !isFloat(value->type.dtype()))
      break;
    value = (*op)[cast::x];
  }
  return value;
}

bool isFactor(const Op *op) {
  return op && (op->is(OpKind::linear) || op->is(OpKind::conv) || op->is(OpKind::gather));
}
unsigned weightParam(const Op &op) {
  return op.is(OpKind::linear) ? unsigned(linear::weight)
         : op.is(OpKind::conv) ? unsigned(conv::weight)
                               : unsigned(gather::x);
}
Value *inputOf(const Op &op) { return op.is(OpKind::gather) ? op[gather::indices] : op[0]; }
/// Absent for a gather.
std::optional<unsigned> biasParam(const Op &op) {
  if (op.is(OpKind::gather))
    return std::nullopt;
  return op.is(OpKind::linear) ? unsigned(linear::bias) : unsigned(conv::bias);
}
const TensorData *weightOf(const Op &op) {
  const TensorData *weight = constTensor(op[weightParam(op)]);
  return weight && isFloat(weight->dtype()) ? weight : nullptr;
}
const Value *biasOf(const Op &op) {
  auto param = biasParam(op);
  return param ? op[*param] : nullptr;
}
bool hasBias(const Op &op) { return biasOf(op) && !isSplat(biasOf(op), 0); }

/// scaleB * B(scaleA * A(scaleX * x)): the branch of a LoRA.
struct Branch {
  Op *b, *a;
  double afterB, between, beforeA;
  llvm::SmallVector<Op *, 4> factors;
  Value *input;

  double scale() const { return afterB * between * beforeA; }
};

std::optional<Branch> matchBranch(Value *value) {
  Scaled last = strip(value);
  Op *b = last.source->def();
  if (!isFactor(b) || b->is(OpKind::gather) || !weightOf(*b) || !last.source->hasOneUse())
    return std::nullopt;
  Scaled middle = strip(inputOf(*b));
  Op *a = middle.source->def();
  if (!isFactor(a) || !weightOf(*a) || !middle.source->hasOneUse())
    return std::nullopt;
  // A takes to the rank, B from it.
  bool linearPair = b->is(OpKind::linear) && !a->is(OpKind::conv);
  bool convPair = b->is(OpKind::conv) && a->is(OpKind::conv);
  if (!linearPair && !convPair)
    return std::nullopt;
  Branch branch{b, a, last.factor, middle.factor, 1, last.factors, inputOf(*a)};
  llvm::append_range(branch.factors, middle.factors);
  if (!a->is(OpKind::gather)) {
    Scaled first = strip(branch.input);
    branch.beforeA = first.factor;
    branch.input = first.source;
    llvm::append_range(branch.factors, first.factors);
  }
  return branch;
}

// ---- keep ---------------------------------------------------------------------------------------

/// Scaling the weight of `target` by the branch's whole scale must scale the biases by what stood
/// after them. False when a bias would have to be divided.
bool canCarry(const Branch &branch, const Op *target) {
  return target == branch.a || branch.beforeA == 1 || !hasBias(*branch.a);
}

void scaleConstant(Op &op, unsigned param, double factor) {
  Value *old = op[param];
  if (factor == 1)
    return;
  op.set(param, derivedConstant(&op, constTensor(old)->scale(factor), old));
  eraseDead(old->def());
}

void carry(Branch &branch, Op *target) {
  scaleConstant(*target, weightParam(*target), branch.scale());
  if (hasBias(*branch.b))
    scaleConstant(*branch.b, *biasParam(*branch.b), branch.afterB);
  if (hasBias(*branch.a) && target == branch.a)
    scaleConstant(*branch.a, *biasParam(*branch.a), branch.afterB * branch.between);
  for (Op *factor : branch.factors)
    replaceOp(factor, constTensor((*factor)[mul::x]) ? (*factor)[mul::y] : (*factor)[mul::x]);
}

bool keepBranches(llvm::MutableArrayRef<Branch> branches, Program &program,
                  const PassContext &context) {
  if (branches.empty())
    return false;
  struct Tally {
    unsigned count = 0;
    double scale = 0;
    bool alike = true;
  };
  Sharing sharing(program);
  llvm::DenseMap<uint64_t, Tally> tallies;
  auto keyOf = [&](const Op *op) { return sharing.key(*weightOf(*op)); };
  for (const Branch &branch : branches)
    for (const Op *factor : {branch.a, branch.b}) {
      Tally &tally = tallies[keyOf(factor)];
      tally.alike &= !tally.count || tally.scale == branch.scale();
      tally.scale = branch.scale();
      ++tally.count;
    }
  auto mayScale = [&](const Branch &branch, const Op *factor) {
    Value *weight = (*factor)[weightParam(*factor)];
    if (!canCarry(branch, factor))
      return false;
    if (!context.options.share || (weight->hasOneUse() && weightOf(*factor)->numElements() < 10))
      return true;
    const Tally &tally = tallies[keyOf(factor)];
    return tally.alike && tally.count >= sharing.uses(keyOf(factor));
  };
  // Decided for all before anything changes, so that equal branches decide alike.
  llvm::SmallVector<Op *, 8> targets;
  for (const Branch &branch : branches) {
    Op *target = branch.b, *other = branch.a;
    if (weightOf(*other)->byteSize() < weightOf(*target)->byteSize())
      std::swap(target, other);
    if (!mayScale(branch, target))
      target = mayScale(branch, other) ? other : nullptr;
    targets.push_back(target);
  }
  bool changed = false;
  for (auto [branch, target] : llvm::zip(branches, targets)) {
    if (!target)
      continue;
    carry(branch, target);
    changed = true;
  }
  return changed;
}

// ---- fold ---------------------------------------------------------------------------------------

bool sameConstant(const Op &x, const Op &y, unsigned param) {
  const Attr *a = constAttr(x[param]), *b = constAttr(y[param]);
  return a && b && *a == *b;
}

bool isPointwise(const Op &op) {
  auto ones = [](const Value *value) { return isSplat(value, 1); };
  const TensorData *weight = weightOf(op);
  auto zeroPad = constInts(op[conv::pad]);
  bool padded = constString(op[conv::pad_type]) == "custom" && zeroPad &&
                llvm::any_of(*zeroPad, [](int64_t p) { return p != 0; });
  return ones(op[conv::strides]) && ones(op[conv::groups]) && !padded &&
         llvm::all_of(weight->shape().drop_front(2), [](int64_t k) { return k == 1; });
}

/// W + scale B A in W's shape, or nullopt when the three do not belong together.
std::optional<TensorData> merged(const Op &base, const Branch &branch) {
  const TensorData *w = weightOf(base), *b = weightOf(*branch.b), *a = weightOf(*branch.a);
  if (!w || base.kind() != branch.a->kind() || hasBias(*branch.a) ||
      withoutCasts(inputOf(base)) != withoutCasts(branch.input))
    return std::nullopt;
  auto fits = [](const TensorData &w, const TensorData &b, const TensorData &a) {
    return w.rank() == 2 && b.rank() == 2 && a.rank() == 2 && w.shape()[0] == b.shape()[0] &&
           w.shape()[1] == a.shape()[1] && b.shape()[1] == a.shape()[0];
  };
  double scale = branch.scale();
  if (base.is(OpKind::linear))
    return fits(*w, *b, *a) ? std::optional(w->loraMerge(*b, *a, scale)) : std::nullopt;
  if (base.is(OpKind::gather)) {
    for (unsigned param : {gather::axis, gather::batch_dims})
      if (!isSplat(base[param], 0) || !isSplat((*branch.a)[param], 0))
        return std::nullopt;
    if (b->rank() != 2)
      return std::nullopt;
    TensorData bt = b->permute({1, 0});
    return fits(*w, *a, bt) ? std::optional(w->loraMerge(*a, bt, scale)) : std::nullopt;
  }
  for (unsigned param : {conv::strides, conv::pad_type, conv::pad, conv::dilations, conv::groups})
    if (!sameConstant(base, *branch.a, param))
      return std::nullopt;
  if (!isSplat(base[conv::groups], 1) || !isPointwise(*branch.b) ||
      w->shape().drop_front(2) != a->shape().drop_front(2))
    return std::nullopt;
  int64_t out = w->shape()[0], rank = a->shape()[0];
  TensorData w2 = w->reshape({out, w->numElements() / out});
  TensorData a2 = a->reshape({rank, a->numElements() / rank});
  TensorData b2 = b->reshape({b->shape()[0], b->shape()[1]});
  return fits(w2, b2, a2) ? std::optional(w2.loraMerge(b2, a2, scale).reshape(w->shape()))
                          : std::nullopt;
}

/// The base's bias with scale * B's added; the base's own where B has none.
std::optional<TensorData> mergedBias(const Op &base, const Branch &branch,
                                     const PassContext &context) {
  const Value *old = biasOf(base);
  auto sum = smallFloats(biasOf(*branch.b), context);
  auto before =
      old ? smallFloats(old, context) : std::optional(std::vector<double>(sum ? sum->size() : 0));
  if (!biasParam(base) || !sum || !before || sum->size() != before->size())
    return std::nullopt;
  for (size_t i = 0; i < sum->size(); ++i)
    (*sum)[i] = (*before)[i] + branch.afterB * (*sum)[i];
  return floats(weightOf(base)->dtype(), {int64_t(sum->size())}, *sum);
}

bool foldBranch(Op &add, unsigned baseSide, const Branch &branch, PassContext &context) {
  Value *sum = add[baseSide];
  if (!sum->hasOneUse() || !(sum->type == add.result()->type))
    return false;
  Op *base = withoutCasts(sum)->def();
  if (!isFactor(base) || !base->result()->hasOneUse())
    return false;
  if (isCompileTime((*base)[weightParam(*base)]) && !constTensor((*base)[weightParam(*base)])) {
    context.warning("function {0}: the LoRA branch at '{1}' is kept beside its weight, which is "
                    "compressed and cannot take it",
                    add.function()->name, base->name);
    return false;
  }
  auto weight = merged(*base, branch);
  if (!weight)
    return false;
  std::optional<TensorData> bias;
  if (hasBias(*branch.b) && !(bias = mergedBias(*base, branch, context)))
    return false;

  auto rebind = [&](unsigned param, const TensorData &tensor) {
    Value *old = (*base)[param];
    base->set(param, old ? derivedConstant(base, tensor, old)
                         : Builder::before(base).constant(tensor, base->name + "_bias"));
    if (old)
      eraseDead(old->def());
  };
  rebind(weightParam(*base), *weight);
  if (bias)
    rebind(*biasParam(*base), *bias);
  replaceOp(&add, sum);
  return true;
}

} // namespace

bool foldLora(Program &program, PassContext &context) {
  bool changed = false;
  std::vector<Branch> kept;
  walk(program, [&](Op &op) {
    if (!op.is(OpKind::add) || !isFloat(op.result()->type.dtype()))
      return;
    LoraMode mode = context.lora(op.function()->name);
    for (unsigned side : {1, 0}) {
      auto branch = matchBranch(op[side]);
      if (!branch || !op[side]->hasOneUse())
        continue;
      if (mode == LoraMode::Fold && foldBranch(op, 1 - side, *branch, context)) {
        changed = true;
        return;
      }
      if (!branch->factors.empty())
        kept.push_back(std::move(*branch));
    }
  });
  changed |= keepBranches(kept, program, context);
  return changed;
}

} // namespace plait::passes
