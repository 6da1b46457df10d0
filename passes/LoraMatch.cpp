// Sums of layers with factors, walked upwards from their last operation.
#include "passes/LoraMatch.h"

#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

/// Factors of more features are not read.
static constexpr int64_t kMostFeatures = 1 << 20;
/// Sums of more operations, counting those twice that are used twice, are left alone.
static constexpr unsigned kMostSumSteps = 200;

// ---- Factors -----------------------------------------------------------------------------------

template <typename Fn> static PerFeature combine(const PerFeature &a, const PerFeature &b, Fn fn) {
  PerFeature result(std::max(a.size(), b.size()));
  for (size_t i = 0; i < result.size(); ++i)
    result[i] = fn(a[a.size() == 1 ? 0 : i], b[b.size() == 1 ? 0 : i]);
  result.origin = a.origin.with(b.origin);
  return result;
}

PerFeature times(const PerFeature &a, const PerFeature &b) {
  return combine(a, b, [](double x, double y) { return x * y; });
}
PerFeature plus(const PerFeature &a, const PerFeature &b) {
  return combine(a, b, [](double x, double y) { return x + y; });
}
bool isAll(const PerFeature &factor, double value) {
  return llvm::all_of(factor, [&](double v) { return v == value; });
}

/// A constant that varies along one axis of `shape` at most, and broadcasts to it. Equal elements
/// are one number, whatever they are broadcast along.
static std::optional<PerFeature> perFeature(const Value *constant, llvm::ArrayRef<Dim> shape,
                                            unsigned axis, const PassContext &context) {
  const TensorData *tensor = constTensor(constant);
  if (!tensor || !isFloat(tensor->dtype()) || tensor->rank() > shape.size())
    return std::nullopt;
  for (auto [size, whole] : llvm::zip(tensor->shape(), shape.take_back(tensor->rank())))
    if (size != 1 && !(whole == Dim(size)))
      return std::nullopt;
  PerFeature result;
  if (std::optional<double> all = splatValue(*tensor))
    result = {*all};
  else if (auto values = alongAxis(constant, shape, axis, context, kMostFeatures * sizeof(float)))
    result.assign(values->begin(), values->end());
  else
    return std::nullopt;
  result.origin = computedFrom(constant);
  return result;
}

// ---- Layers ------------------------------------------------------------------------------------

bool isLayer(const Op *op) {
  return op && (op->is(OpKind::linear) || op->is(OpKind::conv) || op->is(OpKind::gather));
}
unsigned weightParam(const Op &op) {
  return op.is(OpKind::linear) ? unsigned(linear::weight)
         : op.is(OpKind::conv) ? unsigned(conv::weight)
                               : unsigned(gather::x);
}
Value *inputOf(const Op &op) { return op.is(OpKind::gather) ? op[gather::indices] : op[0]; }
std::optional<unsigned> biasParam(const Op &op) {
  if (op.is(OpKind::gather))
    return std::nullopt;
  return op.is(OpKind::linear) ? unsigned(linear::bias) : unsigned(conv::bias);
}
const TensorData *weightOf(const Op &op) {
  const TensorData *weight = constTensor(op[weightParam(op)]);
  return weight && (weight->dtype() == DType::F32 || weight->dtype() == DType::F16) ? weight
                                                                                    : nullptr;
}
const Value *biasOf(const Op &op) {
  auto param = biasParam(op);
  return param ? op[*param] : nullptr;
}
bool hasBias(const Op &op) { return biasOf(op) && !isSplat(biasOf(op), 0); }

static bool isFloatCast(const Op &op) {
  return op.is(OpKind::cast) && isFloat(op[cast::x]->type.dtype()) &&
         isFloat(op.result()->type.dtype());
}

/// Rows of features under another shape: the last axis stays what it is.
static bool reshapesRows(const Op &op) {
  if (!op.is(OpKind::reshape) && !op.is(OpKind::squeeze) && !op.is(OpKind::expand_dims))
    return false;
  llvm::ArrayRef<Dim> from = op[0]->type.shape(), to = op.result()->type.shape();
  return !from.empty() && !to.empty() && from.back() == to.back();
}

Value *sourceOf(const Op &layer, Value *input) {
  while (const Op *op = input->def()) {
    if (!isFloatCast(*op) && !(layer.is(OpKind::linear) && reshapesRows(*op)))
      break;
    input = (*op)[0];
  }
  return input;
}

// ---- Branches ----------------------------------------------------------------------------------

namespace {

/// A chain upwards through float casts, factors and, before a linear layer, reshaped rows; each
/// used once.
struct Scaled {
  Value *source;
  PerFeature factor = {1};
  llvm::SmallVector<Op *, 2> factors; ///< the multiplications, from the last upwards
};

} // namespace

/// Before a convolution reshaped rows are an obstacle: it takes its features from the second axis.
/// Factors per feature are gone through where `perFeatures` says so.
static Scaled strip(Value *value, bool rows, bool perFeatures, const PassContext &context) {
  Scaled chain{value, {1}, {}};
  while (Op *op = chain.source->hasOneUse() ? chain.source->def() : nullptr) {
    if (isFloatCast(*op) || (rows && reshapesRows(*op))) {
      chain.source = (*op)[0];
      continue;
    }
    const Type &type = op->result()->type;
    if (!op->is(OpKind::mul) || type.rank() == 0)
      break;
    unsigned constantSide = constTensor((*op)[mul::x]) ? 0 : 1;
    unsigned axis = rows ? type.rank() - 1 : std::min(type.rank() - 1, 1u);
    auto factor = perFeature((*op)[constantSide], type.shape(), axis, context);
    if (!factor || (factor->size() > 1 && !perFeatures) || !((*op)[1 - constantSide]->type == type))
      break;
    chain.factor = times(chain.factor, *factor);
    chain.factors.push_back(op);
    chain.source = (*op)[1 - constantSide];
  }
  return chain;
}

/// The rank lies between A and B and is smaller than what they take and give.
static bool isLowRank(const Op &a, const Op &b) {
  const TensorData *in = weightOf(a), *out = weightOf(b);
  int64_t rank = a.is(OpKind::gather) ? in->shape().back() : in->shape()[0];
  return rank < out->shape()[0] && rank < in->numElements() / std::max<int64_t>(rank, 1);
}

static std::optional<LoraBranch> matchBranch(Op *b, const PassContext &context) {
  if (b->is(OpKind::gather) || !weightOf(*b))
    return std::nullopt;
  Scaled middle = strip(inputOf(*b), b->is(OpKind::linear), true, context);
  Op *a = middle.source->def();
  // A takes to the rank, B from it.
  if (!isLayer(a) || !weightOf(*a) || b->is(OpKind::conv) != a->is(OpKind::conv))
    return std::nullopt;
  for (const Op *layer : {a, b})
    if (biasOf(*layer) && !constTensor(biasOf(*layer)))
      return std::nullopt;
  LoraBranch branch{
      b, a, inputOf(*a), middle.factor, 1, middle.factors, middle.source->hasOneUse()};
  if (!branch.ownsA && !isLowRank(*a, *b))
    return std::nullopt;
  if (branch.ownsA && !a->is(OpKind::gather)) {
    Scaled first = strip(inputOf(*a), a->is(OpKind::linear), false, context);
    branch.beforeA = first.factor[0];
    branch.input = first.source;
    llvm::append_range(branch.factors, first.factors);
  }
  return branch;
}

// ---- Sums --------------------------------------------------------------------------------------

bool LoraSum::owns(const Value *value) const {
  for (Operand &use : value->uses())
    if (!operations.contains(use.owner()))
      return false;
  return true;
}

namespace {

class SumMatcher {
public:
  SumMatcher(Op &root, unsigned axis, const PassContext &context)
      : root_(root), axis_(axis), context_(context) {}

  std::optional<LoraSum> run() {
    // A layer that something else uses too is a term by itself. That makes the sum smaller, so it
    // is read again.
    do {
      sum_ = LoraSum{&root_, axis_, {}, {0}, {}, 0, false};
      steps_ = 0;
      walk(root_.result(), {1});
      if (steps_ > kMostSumSteps || sum_.operations.empty())
        return std::nullopt;
    } while (findOpaque());
    for (const Op *op : sum_.operations)
      sum_.arithmetic += !op->is(OpKind::cast);
    unsigned layers = 0;
    for (LoraTerm &term : sum_.terms) {
      term.layer = layerOf(term.value);
      if (term.layer && sum_.owns(term.value)) {
        term.branch = matchBranch(term.layer, context_);
        ++layers;
      }
      sum_.hasBranch |= term.branch.has_value();
    }
    if (!sum_.hasBranch && (layers < 2 || context_.lora(root_.function()->name) != LoraMode::Fold))
      return std::nullopt;
    // Terms that are switched off go.
    auto isOff = [](const LoraTerm &term) { return isAll(term.factor, 0); };
    if (!llvm::all_of(sum_.terms, isOff))
      llvm::erase_if(sum_.terms, isOff);
    return std::move(sum_);
  }

private:
  llvm::ArrayRef<Dim> shape() const { return root_.result()->type.shape(); }

  bool hasRootShape(const Value *value) const {
    return value->type.isTensor() && isFloat(value->type.dtype()) && value->type.shape() == shape();
  }

  void walk(Value *value, const PerFeature &factor) {
    Op *op = value->def();
    if (++steps_ > kMostSumSteps || !op || opaque_.contains(op) || !open(*op, factor))
      addTerm(value, factor);
  }

  /// Goes on at the operands of what belongs to the sum.
  bool open(Op &op, const PerFeature &factor) {
    switch (op.kind()) {
    case OpKind::cast:
      if (!isFloatCast(op))
        return false;
      sum_.operations.insert(&op);
      walk(op[cast::x], factor);
      return true;
    case OpKind::add:
    case OpKind::sub: {
      PerFeature ofY = op.is(OpKind::sub) ? times(factor, {-1}) : factor;
      for (unsigned side : {0, 1})
        if (auto constant = perFeature(op[side], shape(), axis_, context_)) {
          if (!hasRootShape(op[1 - side]))
            return false;
          sum_.operations.insert(&op);
          sum_.constant = plus(sum_.constant, times(side ? ofY : factor, *constant));
          walk(op[1 - side], side ? factor : ofY);
          return true;
        }
      if (!hasRootShape(op[0]) || !hasRootShape(op[1]))
        return false;
      sum_.operations.insert(&op);
      walk(op[0], factor);
      walk(op[1], ofY);
      return true;
    }
    case OpKind::mul:
      for (unsigned side : {1, 0})
        if (auto constant = perFeature(op[side], shape(), axis_, context_);
            constant && hasRootShape(op[1 - side])) {
          sum_.operations.insert(&op);
          walk(op[1 - side], times(factor, *constant));
          return true;
        }
      return false;
    case OpKind::real_div:
      if (auto divisor = perFeature(op[1], shape(), axis_, context_);
          divisor && hasRootShape(op[0]) && !llvm::is_contained(*divisor, 0.0)) {
        sum_.operations.insert(&op);
        for (double &value : *divisor)
          value = 1 / value;
        walk(op[0], times(factor, *divisor));
        return true;
      }
      return false;
    default:
      return false;
    }
  }

  void addTerm(Value *value, const PerFeature &factor) {
    for (LoraTerm &term : sum_.terms)
      if (term.value == value) {
        term.factor = plus(term.factor, factor);
        return;
      }
    sum_.terms.push_back({value, factor, nullptr, std::nullopt});
  }

  bool findOpaque() {
    bool found = false;
    for (const Op *op : sum_.operations)
      if (op != &root_ && !sum_.owns(op->result())) {
        opaque_.insert(op);
        found = true;
      }
    return found;
  }

  /// The layer whose features, along the sum's axis, are the value's.
  Op *layerOf(Value *value) const {
    bool last = axis_ + 1 == shape().size();
    Op *op = value->def();
    while (op && (isFloatCast(*op) || (last && reshapesRows(*op)))) {
      value = (*op)[0];
      op = value->hasOneUse() ? value->def() : nullptr;
    }
    if (!isLayer(op))
      return nullptr;
    // A convolution's features are no longer along the second axis once its result is reshaped.
    bool fits = op->is(OpKind::conv) ? axis_ == 1 && value->type.rank() == shape().size()
                                     : last && value->type.rank() > 0;
    return fits ? op : nullptr;
  }

  Op &root_;
  unsigned axis_;
  const PassContext &context_;
  LoraSum sum_;
  unsigned steps_ = 0;
  llvm::DenseSet<const Op *> opaque_;
};

} // namespace

std::optional<LoraSum> matchLoraSum(Op &root, const PassContext &context) {
  bool isSum = root.is(OpKind::add) || root.is(OpKind::sub) || root.is(OpKind::mul);
  if (!isSum || !root.result()->type.isTensor())
    return std::nullopt;
  const Type &type = root.result()->type;
  if (type.rank() == 0 || (type.dtype() != DType::F32 && type.dtype() != DType::F16))
    return std::nullopt;
  // Features lie along the last axis, of convolutions along the second.
  unsigned last = type.rank() - 1;
  if (auto sum = SumMatcher(root, last, context).run())
    return sum;
  return last > 1 ? SumMatcher(root, 1, context).run() : std::nullopt;
}

} // namespace plait::passes
