// LoRA, DoRA and VeRA: two factors with a small rank between them.
#include "frontend/adapter/AdapterHook.h"
#include "frontend/adapter/Branch.h"

#include "llvm/ADT/STLExtras.h"

#include <ATen/Functions.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

#include <numeric>

namespace plait::frontend {

using llvm::StringRef;
using mil::TensorData;

/// A scaled embedding (Gemma's, BART's) multiplies what it gathers; the adapter's part is
/// multiplied alike. A trace keeps no numbers of a module but in its code.
double embeddingScale(const AdaptedModule &module) {
  auto numberOf = [](const c10::IValue &value) -> std::optional<double> {
    if (value.isDouble() || value.isInt())
      return value.toScalar().toDouble();
    if (value.isTensor() && value.toTensor().defined() && value.toTensor().numel() == 1)
      return value.toTensor().item<double>();
    return std::nullopt;
  };
  if (auto slot = module.object->type()->findAttributeSlot("embed_scale"))
    if (auto scale = numberOf(module.object->getSlot(*slot)))
      return *scale;
  for (const torch::jit::Use &use : module.use.node->output()->uses())
    if (use.user->kind() == c10::aten::mul)
      if (auto known = torch::jit::toIValue(use.user->input(1 - use.offset)))
        if (auto scale = numberOf(*known))
          return *scale;
  return 1;
}

Val loraOutput(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
               const AdapterBranch &branch, const Val &x) {
  auto factor = [&](StringRef name) { return hook.factor(ops, module, branch, name); };
  Val y;
  if (module.use.kind == WeightUse::Embedding) {
    Val no(c10::IValue(false));
    Val gathered =
        ops.call("aten::embedding", "",
                 {ops.swapLast(factor("lora_embedding_A")), x, Val(c10::IValue(-1)), no, no});
    y = ops.linear(gathered, factor("lora_embedding_B"));
    y = ops.mul(y, embeddingScale(module));
  } else if (module.use.kind == WeightUse::Convolution) {
    // The kernel with the base's geometry (PEFT leaves its dilation and groups out), then B at each
    // point. A Tucker core has the kernel where A has none.
    bool tucker = branch.find("lora_mid");
    Val h = convolve(ops, module, x, factor("lora_A"),
                     tucker           ? Geometry::Pointwise
                     : branch.dilated ? Geometry::AllOfBase
                                      : Geometry::OfBase);
    if (tucker)
      h = convolve(ops, module, h, factor("lora_mid"), Geometry::AllOfBase);
    int64_t groups = tucker ? 1 : branch["lora_A"].size(0) / branch["lora_B"].size(1);
    y = convolve(ops, module, h, factor("lora_B"), Geometry::Pointwise, groups);
  } else {
    y = ops.linear(x, factor("lora_A"));
    y = ops.linear(y, factor("lora_B"));
  }
  if (branch.find("lora_B.bias"))
    y = ops.add(y, perFeature(ops, module, factor("lora_B.bias")));
  return ops.mul(y, hook.scaleOf(branch));
}

/// x with zeros behind its features, so many that there are `count`.
static Val widened(Ops &ops, const Val &x, int64_t features, int64_t count) {
  if (features == count)
    return x;
  return ops.call("aten::constant_pad_nd", "",
                  {x, ops.ints({0, count - features}), Val(c10::IValue(0.0))});
}

static Val narrowed(Ops &ops, const Val &x, int64_t axis, int64_t count) {
  return ops.call(
      "aten::narrow", "",
      {x, Val(c10::IValue(axis)), Val(c10::IValue(int64_t(0))), Val(c10::IValue(count))});
}

/// The projections are cut to the module's size. Stored are not the pieces, which would take more
/// than the whole where modules differ in size: the whole multiplies x with zeros behind it, and of
/// what it gives, the first features are taken.
Val veraOutput(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
               const AdapterBranch &branch, const Val &x) {
  VeraFactors pieces = veraFactors(module, branch);
  int64_t in = pieces.a.size(1), out = pieces.b.size(0);
  Val lambda = hook.factor(ops, module, branch, "vera_lambda_d");
  Val y;
  if (hook.mode() == AdapterMode::Inputs) {
    Val h = ops.linear(x, narrowed(ops, hook.factor(ops, module, branch, "vera_A"), 1, in));
    y = ops.linear(ops.mul(h, lambda),
                   narrowed(ops, hook.factor(ops, module, branch, "vera_B"), 0, out));
  } else {
    const at::Tensor &a = branch["vera_A"], &b = branch["vera_B"];
    Val h = ops.linear(widened(ops, x, in, a.size(1)), ops.constant(a, "vera_A"));
    y = narrowed(ops, ops.linear(ops.mul(h, lambda), ops.constant(b, "vera_B")), -1, out);
  }
  return ops.mul(ops.mul(y, hook.factor(ops, module, branch, "vera_lambda_b")),
                 hook.scaleOf(branch));
}

VeraFactors veraFactors(const AdaptedModule &module, const AdapterBranch &branch) {
  bool transposed = module.use.kind == WeightUse::TransposedLinear;
  int64_t out = module.weight.size(transposed ? 1 : 0), in = module.weight.size(transposed ? 0 : 1);
  return {branch["vera_A"].narrow(1, 0, in), branch["vera_B"].narrow(0, 0, out)};
}

/// A, with a Tucker core in it: [r, s, K] and [s, in, 1] make [r, in, K].
static TensorData downOf(Ops &ops, const AdapterBranch &branch) {
  at::Tensor a = branch["lora_A"];
  if (const at::Tensor *mid = branch.find("lora_mid")) {
    std::vector<int64_t> shape = mid->sizes().vec();
    shape[1] = a.size(1);
    a = at::einsum("rsk,si->rik", {mid->flatten(2).to(at::kFloat), a.flatten(1).to(at::kFloat)})
            .contiguous()
            .reshape(shape);
  }
  return ops.data(ops.constant(a, "lora_A"));
}

/// W + s B A in the layout of the module's weight, lazily.
TensorData mergedLora(Ops &ops, const AdaptedModule &module, const AdapterBranch &branch,
                      const TensorData &weight) {
  auto factor = [&](StringRef name) { return ops.data(ops.constant(branch[name], name)); };
  switch (module.use.kind) {
  case WeightUse::Embedding: // [num, dim] + s (B A)'
    return weight.loraMerge(factor("lora_embedding_A").permute({1, 0}),
                            factor("lora_embedding_B").permute({1, 0}), branch.scale);
  case WeightUse::TransposedLinear:
    return weight.permute({1, 0})
        .loraMerge(factor("lora_B"), factor("lora_A"), branch.scale)
        .permute({1, 0});
  case WeightUse::Convolution: {
    // Of a grouped convolution this is no weight that could be folded into, but what PEFT takes a
    // DoRA's norm of: B and A as matrices, whatever belongs to which group.
    TensorData a = downOf(ops, branch), b = factor("lora_B");
    int64_t rank = a.shape()[0], rows = b.numElements() / rank;
    return weight.reshape({rows, weight.numElements() / rows})
        .loraMerge(b.reshape({rows, rank}), a.reshape({rank, a.numElements() / rank}), branch.scale)
        .reshape(weight.shape());
  }
  default:
    return weight.loraMerge(factor("lora_B"), factor("lora_A"), branch.scale);
  }
}

Val doraScale(Ops &ops, const AdaptedModule &module, const AdapterBranch &branch,
              const Val &merged) {
  int64_t count = branch["lora_magnitude_vector"].numel();
  // What one magnitude scales as a row: it lies along the weight's first axis, or its second.
  bool second = (module.use.kind == WeightUse::Embedding ||
                 module.use.kind == WeightUse::TransposedLinear) != branch.doraInputs;
  Val rows = merged;
  if (second) {
    llvm::SmallVector<int64_t, 5> axes(module.weight.dim());
    std::iota(axes.begin(), axes.end(), 0);
    std::swap(axes[0], axes[1]);
    rows = ops.permute(rows, axes);
  }
  rows = ops.reshape(rows, {Dim(count), Dim(module.weight.numel() / count)});
  Val norm = ops.call(
      "aten::linalg_vector_norm", "",
      {rows, Val(c10::IValue(2.0)), ops.ints(1), Val(c10::IValue(false)), Val(c10::IValue())});
  Val magnitude =
      ops.reshape(ops.constant(branch["lora_magnitude_vector"], "magnitude"), {Dim(count)});
  return ops.div(magnitude, norm);
}

} // namespace plait::frontend
