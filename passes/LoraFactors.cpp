// The factors of LoRA branches, taken into a weight and the biases behind it.
#include "passes/LoraFactors.h"

#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

// ---- Constants ---------------------------------------------------------------------------------

TensorData alongFeatures(DType dtype, unsigned rank, unsigned axis, const PerFeature &factor) {
  llvm::SmallVector<int64_t, 5> shape;
  if (factor.size() > 1) {
    shape.assign(rank - axis, 1);
    shape[0] = int64_t(factor.size());
  }
  return floats(dtype, shape, factor, factor.origin);
}

TensorData scaled(const TensorData &weight, const PerFeature &factor, unsigned axis,
                  const PassContext &context) {
  if (factor.size() == 1)
    return weight.scale(factor[0]);
  return multiply(weight, alongFeatures(weight.dtype(), weight.rank(), axis, factor), context);
}

void setConstant(Op &op, unsigned param, const TensorData &tensor) {
  Value *old = op[param];
  op.set(param,
         old ? derivedConstant(&op, tensor, old)
             : Builder::before(&op).constant(tensor, (llvm::StringRef(op.name) + "_bias").str()));
  if (old)
    eraseDead(old->def());
}

std::optional<PerFeature> biasValues(const Op &layer, const PassContext &context) {
  if (!hasBias(layer))
    return PerFeature{0};
  const TensorData *bias = constTensor(biasOf(layer));
  if (!bias || !isFloat(bias->dtype()))
    return std::nullopt;
  auto values = bias->floatValues(context.evaluator);
  if (!values) {
    llvm::consumeError(values.takeError());
    return std::nullopt;
  }
  PerFeature result(values->begin(), values->end());
  result.origin = originOf(*bias).asComputed();
  return result;
}

static int64_t features(const Op &layer) {
  return layer.is(OpKind::gather) ? weightOf(layer)->shape().back() : weightOf(layer)->shape()[0];
}

void setBias(Op &layer, PerFeature values) {
  if (values.size() == 1)
    values.assign(features(layer), double(values[0]));
  setConstant(layer, *biasParam(layer),
              floats(weightOf(layer)->dtype(), {int64_t(values.size())}, values, values.origin));
}

// ---- Branches ----------------------------------------------------------------------------------

bool needsTarget(const LoraTerm &term) {
  return !isAll(term.factor, 1) || !isAll(term.branch->between, 1) || term.branch->beforeA != 1;
}

LayerFactors factorsOf(const LoraTerm &term, const Op *layer) {
  const LoraBranch &branch = *term.branch;
  PerFeature rows = times(term.factor, {branch.beforeA});
  if (layer == branch.a || branch.between.size() == 1)
    return {times(rows, branch.between)};
  return {rows, branch.between};
}

TensorData scaledWeight(const Op &layer, const LayerFactors &factors, const PassContext &context) {
  bool isTable = layer.is(OpKind::gather);
  TensorData weight = scaled(*weightOf(layer), factors.rows, isTable ? 1 : 0, context);
  return scaled(weight, factors.columns, isTable ? 0 : 1, context);
}

bool canCarry(const LoraTerm &term, const Op *target) {
  const LoraBranch &branch = *term.branch;
  if (target == branch.a)
    return branch.ownsA && term.factor.size() == 1;
  const TensorData &weight = *weightOf(*target);
  size_t columns = weight.shape()[target->is(OpKind::gather) ? 0 : 1];
  if (branch.between.size() > 1 && branch.between.size() != columns)
    return false;
  return branch.beforeA == 1 || !hasBias(*branch.a);
}

void carry(LoraTerm &term, Op *target, const PassContext &context) {
  LoraBranch &branch = *term.branch;
  auto scaleBias = [&](Op &layer, const PerFeature &factor) {
    if (hasBias(layer) && !isAll(factor, 1))
      setConstant(layer, *biasParam(layer),
                  scaled(*constTensor(biasOf(layer)), factor, 0, context));
  };
  LayerFactors factors = factorsOf(term, target);
  if (!isAll(factors.rows, 1) || !isAll(factors.columns, 1))
    setConstant(*target, weightParam(*target), scaledWeight(*target, factors, context));
  scaleBias(*branch.b, term.factor);
  if (target == branch.a && !target->is(OpKind::gather))
    scaleBias(*branch.a, times(term.factor, branch.between));
  for (Op *factor : branch.factors)
    replaceOp(factor, constTensor((*factor)[mul::x]) ? (*factor)[mul::y] : (*factor)[mul::x]);
  branch.factors.clear();
  branch.between = {1};
  branch.beforeA = 1;
  term.factor = {1};
}

void ScaledLayers::count(const LoraTerm &term) {
  for (const Op *layer : {term.branch->a, term.branch->b}) {
    Tally &tally = tallies_[keyOf(layer)];
    if (canCarry(term, layer)) {
      LayerFactors factors = factorsOf(term, layer);
      tally.alike &= !tally.count || tally.factors == factors;
      tally.factors = std::move(factors);
    } else {
      tally.alike = false;
    }
    ++tally.count;
  }
}

Op *ScaledLayers::choose(const LoraTerm &term) {
  Op *target = term.branch->b, *other = term.branch->a;
  if (weightOf(*other)->byteSize() < weightOf(*target)->byteSize())
    std::swap(target, other);
  return mayScale(term, target) ? target : mayScale(term, other) ? other : nullptr;
}

bool ScaledLayers::mayScale(const LoraTerm &term, const Op *layer) {
  if (!canCarry(term, layer))
    return false;
  if (!context_.options.share || ((*layer)[weightParam(*layer)]->hasOneUse() &&
                                  weightOf(*layer)->numElements() < kBlobElements))
    return true;
  const Tally &tally = tallies_[keyOf(layer)];
  return tally.alike && tally.count >= sharing_.uses(keyOf(layer));
}

} // namespace plait::passes
