// fold-lora: keeps LoRA branches without their scales, or merges them into the weight.
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
// A sum of layers with factors (LoraMatch.h) is written anew if that takes fewer operations:
//
//   c ∘ (W x + b) + c s ∘ B(A x) + (1 - c) ∘ b                              a DoRA
//   %y = linear(x = %x, weight = const W, bias = const b)                   after, keep
//   %h = linear(x = %x, weight = const A, bias = 0)
//   %d = linear(x = %h, weight = const c s ∘ B, bias = const (1 - c) b)
//   %u = mul(x = %y, y = const c)
//   %z = add(x = %u, y = %d)
//
// Keep: a scale goes into A or B, the smaller of those that no other function uses or that all
// users scale alike. A factor per feature behind B goes into B. If neither factor can take it, the
// multiplication stays. Fold: W becomes the function's own, c ∘ W + (c s ∘ B) A. A base conv takes
// a branch of a conv of its own geometry and a 1x1 conv. A base gather (an embedding) takes a
// branch of a gather with the same indices and a linear. A compressed W takes none, but where it
// may be decompressed: W is then what its operations compute.
#include "passes/FoldLora.h"

#include "passes/LoraFactors.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// The changes to one sum. All sums are planned before anything changes, so that equal branches are
/// treated alike.
struct Plan {
  LoraSum sum;
  /// For each term: the layer that its branch, or its layer, is merged into, or null.
  llvm::SmallVector<Op *, 4> bases;
  /// For each term: the layer of its branch that takes its factor, or null.
  llvm::SmallVector<Op *, 4> targets;

  bool folds() const {
    return llvm::any_of(bases, [](const Op *base) { return base != nullptr; });
  }
};

// ---- Folding -----------------------------------------------------------------------------------

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

/// [out, everything else].
TensorData asMatrix(const TensorData &weight) {
  int64_t rows = weight.shape()[0];
  return weight.reshape({rows, weight.numElements() / rows});
}

/// The layer's weight, what decompresses it computed; nullopt where it is no constant.
std::optional<TensorData> denseWeight(const Op &layer) {
  if (const TensorData *tensor = weightOf(layer))
    return *tensor;
  auto compute = [](const Value *value, auto &compute) -> std::optional<TensorData> {
    if (const TensorData *tensor = constTensor(value))
      return *tensor;
    const Op *op = value->def();
    if (!op || !(op->info().traits & Constexpr) || !value->type.hasStaticShape())
      return std::nullopt;
    std::vector<std::vector<Attr>> operands;
    for (unsigned param = 0; param < op->numParams(); ++param) {
      std::vector<Attr> &bound = operands.emplace_back();
      for (const Operand &operand : op->operands(param)) {
        const Attr *attr = constAttr(operand.get());
        auto tensor = attr ? std::nullopt : compute(operand.get(), compute);
        if (!attr && !tensor)
          return std::nullopt;
        bound.push_back(attr ? *attr : Attr(*tensor));
      }
    }
    return TensorData::computed(op->kind(), std::move(operands), value->type, value->index());
  };
  return compute(layer[weightParam(layer)], compute);
}

/// W, B and A belong together: the branch is W's, at the same places of the same input.
bool fits(const Op &base, const LoraBranch &branch) {
  auto dense = denseWeight(base);
  const TensorData *w = dense ? &*dense : nullptr, *b = weightOf(*branch.b),
                   *a = weightOf(*branch.a);
  if (!w || base.kind() != branch.a->kind() || hasBias(*branch.a))
    return false;
  auto fit = [](const TensorData &w, const TensorData &b, const TensorData &a) {
    return w.rank() == 2 && b.rank() == 2 && a.rank() == 2 && w.shape()[0] == b.shape()[0] &&
           w.shape()[1] == a.shape()[1] && b.shape()[1] == a.shape()[0];
  };
  if (base.is(OpKind::linear))
    return fit(*w, *b, *a);
  if (base.is(OpKind::gather)) {
    for (unsigned param : {gather::axis, gather::batch_dims})
      if (!isSplat(base[param], 0) || !isSplat((*branch.a)[param], 0))
        return false;
    return b->rank() == 2 && fit(*w, *a, b->permute({1, 0}));
  }
  for (unsigned param : {conv::strides, conv::pad_type, conv::pad, conv::dilations, conv::groups})
    if (!sameConstant(base, *branch.a, param))
      return false;
  return isSplat(base[conv::groups], 1) && isPointwise(*branch.b) &&
         w->shape().drop_front(2) == a->shape().drop_front(2) &&
         fit(asMatrix(*w), asMatrix(*b), asMatrix(*a));
}

/// w + factors ∘ (B A), in w's shape.
TensorData merged(const TensorData &w, const LoraTerm &term, const PassContext &context) {
  const LoraBranch &branch = *term.branch;
  LayerFactors factors = factorsOf(term, branch.b);
  double scale = 1;
  if (factors.rows.size() == 1)
    std::swap(scale, factors.rows[0]);
  TensorData b = scaledWeight(*branch.b, factors, context), a = *weightOf(*branch.a);
  if (branch.a->is(OpKind::gather))
    return w.loraMerge(a, b.permute({1, 0}), scale);
  return asMatrix(w).loraMerge(asMatrix(b), asMatrix(a), scale).reshape(w.shape());
}

/// w + factor ∘ the weight of the term's layer.
TensorData added(const TensorData &w, const LoraTerm &term, const PassContext &context) {
  TensorData delta = scaledWeight(*term.layer, {term.factor}, context);
  return TensorData::computed(OpKind::add, {{Attr(w)}, {Attr(delta)}}, w.type());
}

/// Whether a layer beside `base` adds to its weight: what a product of factors, multiplied out, is.
bool isDifference(const LoraTerm &term, const LoraTerm &base) {
  if (term.branch || base.branch || term.layer->kind() != base.layer->kind())
    return false;
  const Op &layer = *term.layer;
  const TensorData *delta = weightOf(layer), *w = weightOf(*base.layer);
  if (!delta || !w || !(delta->type() == w->type()) || w->dtype() != DType::F32)
    return false;
  for (unsigned param = 0; param < layer.numParams(); ++param)
    if (layer[param] != inputOf(layer) && param != weightParam(layer) &&
        param != biasParam(layer) && !sameConstant(layer, *base.layer, param))
      return false;
  return true;
}

/// Whether `base` is another layer of the kind and the input of the term's first one.
bool isBeside(const LoraTerm &base, const LoraTerm &term) {
  if (&base == &term || !base.layer || !term.layer)
    return false;
  const Op &first = term.branch ? *term.branch->a : *term.layer;
  Value *input = term.branch ? term.branch->input : inputOf(first);
  return base.layer->kind() == first.kind() &&
         sourceOf(*base.layer, inputOf(*base.layer)) == sourceOf(*base.layer, input);
}

/// Which weights several functions use, alone and as a difference beside another. A difference is
/// merged into a weight only if each function that has it has that weight beside it.
class SharedLayers {
public:
  SharedLayers(Sharing &sharing, llvm::ArrayRef<Op *> operations, const PassContext &context)
      : context_(context), sharing_(sharing) {
    // From the last: the whole of a sum before its parts.
    llvm::DenseSet<const Op *> counted;
    for (Op *op : llvm::reverse(operations)) {
      if (context.lora(op->function()->name) != LoraMode::Fold || !context.options.share ||
          counted.contains(op))
        continue;
      if (auto sum = matchLoraSum(*op, context); sum && count(*sum))
        counted.insert(sum->operations.begin(), sum->operations.end());
    }
  }

  bool usedElsewhere(const Op &layer) {
    return context_.options.share && sharing_.usedElsewhere(keyOf(layer), layer.function());
  }
  /// Whether another function has the term's layer without the base's beside it.
  bool usedWithout(const LoraTerm &term, const LoraTerm &base) {
    return usedElsewhere(*term.layer) && pairs_.lookup({keyOf(*term.layer), keyOf(*base.layer)}) <
                                             sharing_.uses(keyOf(*term.layer));
  }

private:
  uint64_t keyOf(const Op &layer) { return sharing_.key(*weightOf(layer)); }

  /// Whether the sum has a difference.
  bool count(const LoraSum &sum) {
    bool found = false;
    for (const LoraTerm &term : sum.terms)
      for (const LoraTerm &base : sum.terms)
        if (isBeside(base, term) && isDifference(term, base)) {
          ++pairs_[{keyOf(*term.layer), keyOf(*base.layer)}];
          found = true;
        }
    return found;
  }

  const PassContext &context_;
  Sharing &sharing_;
  llvm::DenseMap<std::pair<uint64_t, uint64_t>, unsigned> pairs_;
};

/// The layer that a branch or a difference can be merged into, or null. Says once of a branch why
/// not.
Op *findBase(const LoraSum &sum, const LoraTerm &term, SharedLayers &shared, bool decompresses,
             llvm::DenseSet<const Op *> &warned, PassContext &context) {
  if (!term.layer || (!term.branch && (!sum.owns(term.value) || !weightOf(*term.layer))))
    return nullptr;
  const char *obstacle = nullptr;
  Op *found = nullptr;
  for (const LoraTerm &base : sum.terms) {
    if (!isBeside(base, term) ||
        (!term.branch && (!isDifference(term, base) || shared.usedWithout(term, base))))
      continue;
    Value *weight = (*base.layer)[weightParam(*base.layer)];
    if (isCompileTime(weight) && !constTensor(weight) && !decompresses)
      obstacle =
          "compressed and cannot take it; plait compress --lora fold decompresses it, merges "
          "and compresses again";
    else if (!sum.owns(base.value))
      obstacle = "used without it elsewhere";
    else if (!biasValues(*term.layer, context) || !biasValues(*base.layer, context))
      obstacle = "with a bias that cannot take the branch's";
    else if (term.branch && !fits(*base.layer, *term.branch))
      obstacle = "of another geometry, or A has a bias";
    else if (term.branch || shared.usedElsewhere(*base.layer))
      return base.layer;
    else if (!found)
      found = base.layer;
  }
  if (!found && obstacle && term.branch && warned.insert(term.layer).second)
    context.warning(
        Code::AdapterNotFolded,
        "function {0}: the LoRA branch at '{1}' is kept beside its weight, which is {2}",
        sum.root->function()->name, llvm::StringRef(term.layer->name), obstacle);
  return found;
}

/// Merges the branches and layers that have a base, with all factors. Their biases become part of
/// the sum's constant.
void fold(Plan &plan, const PassContext &context) {
  LoraSum &sum = plan.sum;
  for (LoraTerm &base : sum.terms) {
    if (!base.layer || !llvm::is_contained(plan.bases, base.layer))
      continue;
    Op &layer = *base.layer;
    TensorData weight =
        scaled(*denseWeight(layer), base.factor, layer.is(OpKind::gather) ? 1 : 0, context);
    for (auto [term, into] : llvm::zip(sum.terms, plan.bases))
      if (into == &layer) {
        weight = term.branch ? merged(weight, term, context) : added(weight, term, context);
        sum.constant = plus(sum.constant, times(term.factor, *biasValues(*term.layer, context)));
      }
    setConstant(layer, weightParam(layer), weight);
    if (hasBias(layer) && !isAll(base.factor, 1))
      setBias(layer, times(base.factor, *biasValues(layer, context)));
    base.factor = {1};
  }
  llvm::SmallVector<LoraTerm, 4> terms;
  llvm::SmallVector<Op *, 4> targets;
  for (auto [term, into, target] : llvm::zip(sum.terms, plan.bases, plan.targets))
    if (!into) {
      terms.push_back(std::move(term));
      targets.push_back(target);
    }
  sum.terms = std::move(terms);
  plan.targets = std::move(targets);
}

// ---- Sums anew ---------------------------------------------------------------------------------

/// The layer whose bias takes the sum's constant: one that branches are merged into, a base without
/// a bias, else a branch's B. Null where none can; `isPlain` says whether a term has no factor.
Op *biasTaker(const Plan &plan, llvm::function_ref<bool(size_t)> isPlain,
              const PassContext &context) {
  Op *taker = nullptr;
  for (auto [index, term] : llvm::enumerate(plan.sum.terms)) {
    if (!term.layer || !biasParam(*term.layer) || !isPlain(index) || !plan.sum.owns(term.value) ||
        !weightOf(*term.layer) || !biasValues(*term.layer, context))
      continue;
    if (llvm::is_contained(plan.bases, term.layer) || (!term.branch && !hasBias(*term.layer)))
      return term.layer;
    if (term.branch && !taker)
      taker = term.layer;
  }
  return taker;
}

/// How many operations write() makes of the sum, and what the factors behind its branches' layers
/// take, where `carried` says whose factors are carried.
unsigned operationsOf(const Plan &plan, llvm::function_ref<bool(size_t)> carried,
                      const PassContext &context) {
  auto isPlain = [&](size_t index) {
    return carried(index) || isAll(plan.sum.terms[index].factor, 1);
  };
  unsigned count = plan.sum.terms.size() - 1;
  for (auto [index, term] : llvm::enumerate(plan.sum.terms)) {
    count += !isPlain(index) && !(index > 0 && isAll(term.factor, -1));
    if (term.branch && !carried(index))
      count += term.branch->factors.size();
  }
  return count + (!isAll(plan.sum.constant, 0) && !biasTaker(plan, isPlain, context));
}

/// How many there are now.
unsigned operationsOf(const LoraSum &sum) {
  unsigned count = sum.arithmetic;
  for (const LoraTerm &term : sum.terms)
    count += term.branch ? term.branch->factors.size() : 0;
  return count;
}

/// The value that takes the place of the root. A term may have been the root of another sum:
/// `replaced` maps it to its new value.
Value *write(Plan &plan, const llvm::DenseMap<Value *, Value *> &replaced,
             const PassContext &context) {
  LoraSum &sum = plan.sum;
  Op &root = *sum.root;
  DType dtype = root.result()->type.dtype();
  unsigned rank = root.result()->type.rank();
  if (!isAll(sum.constant, 0)) {
    auto isPlain = [&](size_t index) { return isAll(sum.terms[index].factor, 1); };
    if (Op *taker = biasTaker(plan, isPlain, context)) {
      setBias(*taker, plus(*biasValues(*taker, context), sum.constant));
      sum.constant = {0};
    }
  }
  Builder builder = Builder::before(&root);
  auto constant = [&](const PerFeature &values, llvm::StringRef hint) {
    return builder.constant(alongFeatures(dtype, rank, sum.axis, values), hint);
  };
  Value *result = nullptr;
  for (const LoraTerm &term : sum.terms) {
    auto it = replaced.find(term.value);
    Value *value = it == replaced.end() ? term.value : it->second;
    llvm::StringRef hint = value->name;
    if (value->type.dtype() != dtype)
      value = builder.emit(OpKind::cast, {{cast::x, value}, {cast::dtype, name(dtype)}}, hint);
    bool subtracted = result && isAll(term.factor, -1);
    if (!isAll(term.factor, 1) && !subtracted)
      value = builder.emit(OpKind::mul,
                           {{mul::x, value}, {mul::y, constant(term.factor, "factor")}}, hint);
    if (result)
      value = builder.emit(subtracted ? OpKind::sub : OpKind::add,
                           {{add::x, result}, {add::y, value}}, root.name);
    result = value;
  }
  if (!isAll(sum.constant, 0))
    result = builder.emit(
        OpKind::add, {{add::x, result}, {add::y, constant(sum.constant, "constant")}}, root.name);
  if (!canReplace(root.result(), result))
    result = builder.emit(OpKind::identity, {{identity::x, result}}, root.name);
  return result;
}

bool fold(Program &program, bool decompresses, PassContext &context) {
  std::vector<Op *> operations;
  walk(program, [&](Op &op) { operations.push_back(&op); });
  // From the last: the whole of a sum before its parts.
  std::vector<Plan> plans;
  llvm::DenseSet<const Op *> taken, warned;
  Sharing sharing(program, context.options.precision); // nothing changes before the plans are made
  SharedLayers shared(sharing, operations, context);
  for (Op *op : llvm::reverse(operations)) {
    auto sum = taken.contains(op) ? std::nullopt : matchLoraSum(*op, context);
    if (!sum)
      continue;
    Plan plan{std::move(*sum), {}, {}};
    bool folding = context.lora(op->function()->name) == LoraMode::Fold;
    for (const LoraTerm &term : plan.sum.terms)
      plan.bases.push_back(folding ? findBase(plan.sum, term, shared, decompresses, warned, context)
                                   : nullptr);
    // What takes a branch is not merged itself.
    for (auto [term, base] : llvm::zip(plan.sum.terms, plan.bases))
      if (term.layer && llvm::is_contained(plan.bases, term.layer))
        base = nullptr;
    plan.targets.resize(plan.sum.terms.size());
    // Not even if all layers could take their factors: then perhaps for a part.
    auto atBest = [&](size_t index) {
      const LoraTerm &term = plan.sum.terms[index];
      return term.branch && (canCarry(term, term.branch->a) || canCarry(term, term.branch->b));
    };
    if (!plan.folds() &&
        (!plan.sum.hasBranch || operationsOf(plan, atBest, context) >= operationsOf(plan.sum)))
      continue;
    taken.insert(plan.sum.operations.begin(), plan.sum.operations.end());
    for (const LoraTerm &term : plan.sum.terms)
      if (term.branch)
        taken.insert(term.branch->factors.begin(), term.branch->factors.end());
    plans.push_back(std::move(plan));
  }
  std::reverse(plans.begin(), plans.end());

  ScaledLayers layers(sharing, context);
  for (const Plan &plan : plans)
    for (auto [term, base] : llvm::zip(plan.sum.terms, plan.bases))
      if (term.branch && !base)
        layers.count(term);
  for (Plan &plan : plans)
    for (auto [index, term] : llvm::enumerate(plan.sum.terms))
      if (term.branch && !plan.bases[index] && needsTarget(term))
        plan.targets[index] = layers.choose(term);
  llvm::erase_if(plans, [&](const Plan &plan) {
    auto carried = [&](size_t index) { return plan.targets[index] != nullptr; };
    return !plan.folds() && operationsOf(plan, carried, context) >= operationsOf(plan.sum);
  });

  llvm::DenseMap<Value *, Value *> replaced;
  for (Plan &plan : plans) {
    fold(plan, context);
    for (auto [term, target] : llvm::zip(plan.sum.terms, plan.targets))
      if (target)
        carry(term, target, context);
    Op &root = *plan.sum.root;
    Value *result = write(plan, replaced, context);
    replaceUses(root.result(), result);
    replaced[root.result()] = result;
  }
  // Only now: a root that another sum has for a term is looked up by its address.
  for (const Plan &plan : plans)
    eraseDead(plan.sum.root);
  return !plans.empty();
}

} // namespace

bool foldLora(Program &program, PassContext &context) {
  return fold(program, /*decompresses=*/false, context);
}

bool foldLoraDecompressing(Program &program, PassContext &context) {
  return fold(program, /*decompresses=*/true, context);
}

} // namespace plait::passes
