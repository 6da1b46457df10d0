// What a branch adds to a module's result, and what all of them make of its parameters.
#include "frontend/adapter/Branch.h"

#include "llvm/ADT/STLExtras.h"

#include <torch/csrc/jit/ir/ir.h>

namespace plait::frontend {

using llvm::StringRef;
using mil::TensorData;

// ---- Convolutions ------------------------------------------------------------------------------

Val convolve(Ops &ops, const AdaptedModule &module, const Val &x, const Val &weight,
             Geometry geometry, int64_t groups) {
  const torch::jit::Node &node = *module.use.node;
  const c10::FunctionSchema &schema = node.schema();
  if (node.input(0)->node()->kind() != c10::prim::Param) {
    ops.engine().fail(makeError("the adapted module '{0}' is a convolution of something else than "
                                "its input (it pads with other than zeros, or has no batch), which "
                                "adapters are not applied to; trace the adapted model and give it "
                                "as --function NAME=MODEL.pt",
                                module.path));
    return Val();
  }
  size_t spatial = module.weight.dim() - 2;
  bool ofBase = geometry != Geometry::Pointwise;
  bool allOfBase = geometry == Geometry::AllOfBase;
  std::vector<Val> arguments;
  for (auto [i, argument] : llvm::enumerate(schema.arguments())) {
    StringRef name = argument.name();
    auto given = constantArgument(node, name);
    if (name == "input" || name == "self") {
      arguments.push_back(x);
    } else if (name == "weight") {
      arguments.push_back(weight);
    } else if (name == "bias") {
      arguments.emplace_back(c10::IValue());
    } else if ((name == "stride" && !ofBase) || (name == "dilation" && !allOfBase)) {
      arguments.push_back(ops.ints(std::vector<int64_t>(spatial, 1)));
    } else if (name == "padding" && !ofBase) {
      arguments.push_back(given && given->isString() ? Val(c10::IValue("valid"))
                                                     : ops.ints(std::vector<int64_t>(spatial, 0)));
    } else if (name == "groups" && !allOfBase) {
      arguments.emplace_back(c10::IValue(groups));
    } else if (given && !(name == "transposed" && given->toBool())) {
      arguments.push_back(ops.engine().fromIValue(*given));
    } else {
      ops.engine().fail(makeError("the adapted module '{0}' is {1}, which adapters are not applied "
                                  "to; trace the adapted model and give it as --function "
                                  "NAME=MODEL.pt",
                                  module.path,
                                  given ? "a transposed convolution"
                                        : "a convolution whose geometry is computed"));
      return Val();
    }
  }
  auto results = ops.engine().call(schema, std::move(arguments));
  return results && !results->empty() ? (*results)[0] : Val();
}

static constexpr const char *kMerge =
    "merge it into the model (merge_and_unload) and give that as --function NAME=MODEL.pt";

/// What to do where a branch cannot be merged: whether it can be computed beside the weight.
static const char *beside(const AdapterBranch &branch) {
  bool needsDelta = branch.kind == AdapterKind::Loha || branch.leadingKron;
  return needsDelta ? kMerge : "compile it with --lora keep";
}

Val convolveDelta(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
                  const AdapterBranch &branch, const Val &x, const Val &delta) {
  if (module.use.isDilated()) {
    ops.engine().fail(makeError("module '{0}': the {1} of a dilated convolution is computed when "
                                "the function runs, and Core ML dilates no weight that is; {2}",
                                module.path, name(branch.kind), kMerge));
    return Val();
  }
  return ops.mul(convolve(ops, module, x, delta, Geometry::AllOfBase), hook.scaleOf(branch));
}

// ---- Outputs -----------------------------------------------------------------------------------

Val branchOutput(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
                 const AdapterBranch &branch, const Val &x) {
  switch (branch.kind) {
  case AdapterKind::Lora:
    return loraOutput(hook, ops, module, branch, x);
  case AdapterKind::Vera:
    return veraOutput(hook, ops, module, branch, x);
  case AdapterKind::Loha:
    return lohaOutput(hook, ops, module, branch, x);
  case AdapterKind::Lokr:
    return lokrOutput(hook, ops, module, branch, x);
  case AdapterKind::Ia3:
  case AdapterKind::LnTuning:
    break;
  }
  assert(false && "(IA)3 and LN tuning add nothing");
  return Val();
}

Val perFeature(Ops &ops, const AdaptedModule &module, const Val &vector) {
  Dim count = 1;
  for (const Dim &dim : Ops::shapeOf(vector))
    count = count * dim;
  Shape shape = {count};
  if (module.use.kind == WeightUse::Convolution)
    shape.append(module.weight.dim() - 2, Dim(1));
  return ops.reshape(vector, shape);
}

Val featureScale(AdapterHook *hook, Ops &ops, const AdaptedModule &module) {
  std::optional<Val> sum;
  for (const AdapterBranch &branch : module.branches) {
    Val scale =
        hook ? hook->factor(ops, module, branch, "ia3_l") : ops.constant(branch["ia3_l"], "ia3_l");
    scale = ops.mul(ops.reshape(scale, {Dim(branch["ia3_l"].numel())}),
                    hook ? hook->scaleOf(branch) : branch.scale);
    sum = sum ? ops.add(*sum, scale) : scale;
  }
  return *sum;
}

static Val replacedParameter(Ops &ops, const AdaptedModule &module, StringRef name) {
  auto replaced = module.replaced.find(name.str());
  // A weight that is computed each time (weight_norm) is no attribute.
  at::Tensor value = replaced != module.replaced.end() ? replaced->second
                     : name == "weight" && module.weight.defined()
                         ? module.weight
                         : tensorAttribute(*module.object, name);
  return ops.constant(value, name);
}

static Val addDifferences(Ops &ops, const AdaptedModule &module, StringRef name, Val value) {
  if (auto added = module.differences.find(name.str()); added != module.differences.end())
    for (const auto &[tensor, weight] : added->second)
      value = ops.add(value, ops.mul(ops.constant(tensor, name), weight));
  return value;
}

Val changedParameter(Ops &ops, const AdaptedModule &module, StringRef name) {
  return addDifferences(ops, module, name, replacedParameter(ops, module, name));
}

// ---- Merging -----------------------------------------------------------------------------------

/// The shape in which a vector over the outputs (or the inputs) multiplies the weight.
static Val alongWeight(Ops &ops, const AdaptedModule &module, const Val &vector, bool inputs) {
  bool lastAxis = module.use.kind == WeightUse::Embedding ||
                  (module.use.kind == WeightUse::TransposedLinear && !inputs) ||
                  (module.use.kind == WeightUse::Linear && inputs);
  Shape shape(module.weight.dim(), Dim(1));
  size_t axis = lastAxis                                              ? shape.size() - 1
                : module.use.kind == WeightUse::Convolution && inputs ? 1
                                                                      : 0;
  shape[axis] = Ops::shapeOf(vector).empty() ? Dim(1) : Ops::shapeOf(vector)[0];
  return ops.reshape(vector, shape);
}

static Val addBias(Ops &ops, const AdaptedModule &module, const AdapterBranch &branch,
                   const std::optional<Val> &bias) {
  Val own = ops.mul(ops.reshape(ops.constant(branch["lora_B.bias"], "bias"),
                                {Dim(branch["lora_B.bias"].numel())}),
                    branch.scale);
  return bias ? ops.add(*bias, own) : own;
}

/// What one branch makes of a weight; of a LoRA the weight is a constant.
static Val mergeBranch(Ops &ops, const AdaptedModule &module, const AdapterBranch &branch,
                       const Val &weight) {
  auto plus = [&](const Val &delta) { return ops.add(weight, ops.mul(delta, branch.scale)); };
  switch (branch.kind) {
  case AdapterKind::Lora:
    return ops.constant(mergedLora(ops, module, branch, ops.data(weight)), "merged");
  case AdapterKind::Vera: {
    VeraFactors factors = veraFactors(module, branch);
    auto column = [&](StringRef name) {
      return ops.reshape(ops.constant(branch[name], name), {Dim(branch[name].numel()), Dim(1)});
    };
    Val delta = ops.matmul(ops.mul(ops.constant(factors.b, "B"), column("vera_lambda_b")),
                           ops.mul(ops.constant(factors.a, "A"), column("vera_lambda_d")));
    return plus(module.use.kind == WeightUse::TransposedLinear ? ops.swapLast(delta) : delta);
  }
  case AdapterKind::Loha:
    return plus(lohaDelta(nullptr, ops, module, branch));
  case AdapterKind::Lokr:
    return plus(lokrDelta(nullptr, ops, module, branch));
  case AdapterKind::Ia3:
  case AdapterKind::LnTuning:
    break;
  }
  return weight;
}

Val doraScale(Ops &ops, const AdaptedModule &module, const AdapterBranch &branch) {
  Val weight = mergeBranch(ops, module, branch, replacedParameter(ops, module, "weight"));
  return doraScale(ops, module, branch, addDifferences(ops, module, "weight", weight));
}

/// Of a grouped convolution each group has inputs of its own.
static Val scaleInputs(Ops &ops, const AdaptedModule &module, const Val &weight, const Val &scale) {
  int64_t count = module.branches[0]["ia3_l"].numel(), in = module.weight.size(1);
  if (module.use.kind != WeightUse::Convolution || count == in)
    return ops.mul(weight, alongWeight(ops, module, scale, /*inputs=*/true));
  int64_t groups = count / in, out = module.weight.size(0) / groups;
  Val parts = ops.mul(
      ops.reshape(weight, {Dim(groups), Dim(out), Dim(in), Dim(module.weight[0][0].numel())}),
      ops.reshape(scale, {Dim(groups), Dim(1), Dim(in), Dim(1)}));
  return ops.reshape(parts, Shape(module.weight.sizes().begin(), module.weight.sizes().end()));
}

MergedParameters mergeBranches(Ops &ops, const AdaptedModule &module) {
  if (module.computesWeight) {
    ops.engine().fail(makeError("module '{0}': its weight is computed each time (weight_norm), so "
                                "that nothing can be merged into it; compile it with --lora keep, "
                                "or take the normalisation out of the model "
                                "(remove_parametrizations) before it is traced",
                                module.path));
    return {Val(), std::nullopt, std::nullopt};
  }
  const AdapterBranch &first = module.branches[0];
  if (first.kind != AdapterKind::Lora && module.use.kind == WeightUse::Convolution &&
      module.use.isDilated()) {
    ops.engine().fail(
        makeError("module '{0}': the {1} of a dilated convolution cannot be merged "
                  "into its weight, since Core ML dilates no weight that is computed; "
                  "{2}",
                  module.path, name(first.kind), beside(first)));
    return {Val(), std::nullopt, std::nullopt};
  }
  Val weight = replacedParameter(ops, module, "weight");
  std::optional<Val> bias;
  if (module.bias.defined())
    bias = changedParameter(ops, module, "bias");
  MergedParameters merged;
  if (first.kind == AdapterKind::Ia3) {
    Val scale = featureScale(nullptr, ops, module);
    weight = addDifferences(ops, module, "weight", weight);
    merged.weight = first.feedforward
                        ? scaleInputs(ops, module, weight, scale)
                        : ops.mul(weight, alongWeight(ops, module, scale, /*inputs=*/false));
    if (bias && !first.feedforward)
      merged.bias = ops.mul(*bias, scale);
  } else {
    bool newBias = false;
    for (const AdapterBranch &branch : module.branches) {
      if (const char *why = module.cannotMerge(branch)) {
        ops.engine().fail(makeError("module '{0}': the LoRA of a {1} convolution cannot be merged "
                                    "into its weight; compile it with --lora keep",
                                    module.path, why));
        return {Val(), std::nullopt, std::nullopt};
      }
      weight = mergeBranch(ops, module, branch, weight);
      if (branch.find("lora_B.bias")) {
        bias = addBias(ops, module, branch, bias);
        newBias = true;
      }
    }
    weight = addDifferences(ops, module, "weight", weight);
    if (first.dora)
      weight = ops.mul(weight, alongWeight(ops, module, doraScale(ops, module, first, weight),
                                           first.doraInputs));
    merged.weight = weight;
    if (newBias && module.bias.defined())
      merged.bias = bias;
    else if (newBias)
      merged.addend = bias;
  }
  merged.weight = ops.cast(merged.weight, module.weight.scalar_type());
  return merged;
}

} // namespace plait::frontend
