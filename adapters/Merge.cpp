// What adapters make of a module's parameters.
#include "adapters/Branch.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::adapters {

using llvm::StringRef;
using mil::LoraMode;

static Value *replacedParameter(BranchBuilder &build, const AdaptedModule &module, StringRef name) {
  auto replaced = module.replaced.find(name.str());
  // A weight that is computed each time (weight_norm) is no attribute.
  return build.constant(replaced != module.replaced.end() ? replaced->second
                        : name == "weight"                ? module.weight
                                           : module.parameters.find(name.str())->second,
                        name);
}

static Value *addDifferences(BranchBuilder &build, const AdaptedModule &module, StringRef name,
                             Value *value) {
  if (auto added = module.differences.find(name.str()); added != module.differences.end())
    for (const auto &[tensor, weight] : added->second)
      value = build.add(value, build.mul(build.constant(tensor, name), weight));
  return value;
}

Value *changedParameter(BranchBuilder &build, const AdaptedModule &module, StringRef name) {
  return addDifferences(build, module, name, replacedParameter(build, module, name));
}

/// The shape in which a vector over the outputs (or the inputs) multiplies the weight.
static Value *alongWeight(BranchBuilder &build, const AdaptedModule &module, Value *vector,
                          bool inputs) {
  bool lastAxis = module.layer.kind == Layer::Embedding ||
                  (module.layer.kind == Layer::TransposedLinear && !inputs) ||
                  (module.layer.kind == Layer::Linear && inputs);
  Shape shape(module.weight.rank(), Dim(1));
  size_t axis = lastAxis                                            ? shape.size() - 1
                : module.layer.kind == Layer::Convolution && inputs ? 1
                                                                    : 0;
  shape[axis] = mil::numElements(llvm::ArrayRef<Dim>(BranchBuilder::shapeOf(vector)));
  return build.reshape(vector, shape);
}

static Value *addBias(BranchBuilder &build, const AdapterBranch &branch, Value *bias) {
  const TensorData &added = branch["lora_B.bias"];
  Value *own = build.mul(build.reshape(build.constant(added, "bias"), {Dim(added.numElements())}),
                         branch.scale);
  return bias ? build.add(bias, own) : own;
}

/// What one branch makes of a weight; of a LoRA the weight is a constant.
static Value *mergeBranch(BranchBuilder &build, const AdaptedModule &module,
                          const AdapterBranch &branch, Value *weight) {
  FactorSource constants(LoraMode::Fold, build.builder().function());
  auto plus = [&](Value *delta) { return build.add(weight, build.mul(delta, branch.scale)); };
  switch (branch.kind) {
  case AdapterKind::Lora:
    return build.constant(mergedLora(module, branch, build.data(weight)), "merged");
  case AdapterKind::Vera:
    return plus(veraDelta(build, module, branch));
  case AdapterKind::Loha:
    return plus(lohaDelta(constants, build, module, branch));
  case AdapterKind::Lokr:
    return plus(lokrDelta(constants, build, module, branch));
  case AdapterKind::Ia3:
  case AdapterKind::LnTuning:
    break;
  }
  return weight;
}

Value *doraScale(BranchBuilder &build, const AdaptedModule &module, const AdapterBranch &branch) {
  Value *weight = mergeBranch(build, module, branch, replacedParameter(build, module, "weight"));
  return doraScale(build, module, branch, addDifferences(build, module, "weight", weight));
}

/// Of a grouped convolution each group has inputs of its own.
static Value *scaleInputs(BranchBuilder &build, const AdaptedModule &module, Value *weight,
                          Value *scale) {
  int64_t count = module.branches[0]["ia3_l"].numElements(), in = module.weight.shape()[1];
  if (module.layer.kind != Layer::Convolution || count == in)
    return build.mul(weight, alongWeight(build, module, scale, /*inputs=*/true));
  int64_t groups = count / in, out = module.weight.shape()[0] / groups;
  int64_t kernel = module.weight.numElements() / (groups * out * in);
  Value *parts = build.mul(build.reshape(weight, {Dim(groups), Dim(out), Dim(in), Dim(kernel)}),
                           build.reshape(scale, {Dim(groups), Dim(1), Dim(in), Dim(1)}));
  return build.reshape(parts, Shape(module.weight.shape().begin(), module.weight.shape().end()));
}

/// What to do where a branch cannot be merged: whether it can be computed beside the weight.
static const char *beside(const AdapterBranch &branch) {
  bool needsDelta = branch.kind == AdapterKind::Loha || branch.leadingKron;
  return needsDelta ? "merge it into the model (merge_and_unload) and give that as --function "
                      "NAME=MODEL.pt"
                    : "compile it with --lora keep";
}

Error checkMergeable(const AdaptedModule &module) {
  const AdapterBranch &first = module.branches[0];
  if (module.computesWeight)
    return makeError(Code::AdapterMerge,
                     "module '{0}': its weight is computed each time (weight_norm), so that "
                     "nothing can be merged into it; compile it with --lora keep, or take the "
                     "normalisation out of the model (remove_parametrizations) before it is traced",
                     module.path);
  if (first.kind != AdapterKind::Lora && module.layer.kind == Layer::Convolution &&
      module.layer.isDilated())
    return makeError(Code::AdapterMerge,
                     "module '{0}': the {1} of a dilated convolution cannot be merged into its "
                     "weight, since Core ML dilates no weight that is computed; {2}",
                     module.path, name(first.kind), beside(first));
  for (const AdapterBranch &branch : module.branches)
    if (const char *why = module.cannotMerge(branch))
      return makeError(Code::AdapterMerge,
                       "module '{0}': the LoRA of a {1} convolution cannot be merged into its "
                       "weight; compile it with --lora keep",
                       module.path, why);
  return Error::success();
}

Value *mergedWeight(BranchBuilder &build, const AdaptedModule &module) {
  const AdapterBranch &first = module.branches[0];
  Value *weight = replacedParameter(build, module, "weight");
  if (first.kind == AdapterKind::Ia3) {
    FactorSource constants(LoraMode::Fold, build.builder().function());
    Value *scale = featureScale(constants, build, module);
    weight = addDifferences(build, module, "weight", weight);
    return first.feedforward
               ? scaleInputs(build, module, weight, scale)
               : build.mul(weight, alongWeight(build, module, scale, /*inputs=*/false));
  }
  for (const AdapterBranch &branch : module.branches)
    weight = mergeBranch(build, module, branch, weight);
  weight = addDifferences(build, module, "weight", weight);
  if (!first.dora)
    return weight;
  return build.mul(weight, alongWeight(build, module, doraScale(build, module, first, weight),
                                       first.doraInputs));
}

/// (IA)3 that scales what comes out scales the bias with it.
static bool scalesOutput(const AdapterBranch &branch) {
  return branch.kind == AdapterKind::Ia3 && !branch.feedforward;
}

bool changesBias(const AdaptedModule &module) {
  return llvm::any_of(module.branches, [&](const AdapterBranch &branch) {
    return branch.find("lora_B.bias") || (scalesOutput(branch) && module.bias);
  });
}

Value *mergedBias(BranchBuilder &build, const AdaptedModule &module) {
  Value *bias = module.bias ? changedParameter(build, module, "bias") : nullptr;
  if (scalesOutput(module.branches[0])) {
    FactorSource constants(LoraMode::Fold, build.builder().function());
    return build.mul(bias, featureScale(constants, build, module));
  }
  for (const AdapterBranch &branch : module.branches)
    if (branch.find("lora_B.bias"))
      bias = addBias(build, branch, bias);
  return bias;
}

} // namespace plait::adapters
