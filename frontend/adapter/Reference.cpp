// Adapters merged into a base by LibTorch, as PEFT's merge_and_unload does: what `plait verify`
// holds a function with adapters against. It shares the reading of files with the compiler, and
// nothing of how branches are lowered.
#include "frontend/Frontend.h"
#include "frontend/adapter/AdapterPlan.h"
#include "frontend/script/libtorch/TorchArchive.h"

#include <ATen/ATen.h>

namespace plait::frontend {

namespace {

class Merger {
public:
  explicit Merger(const AdaptedModule &module) : module_(module) {}

  Error merge() {
    for (const auto &[name, tensor] : module_.replaced)
      set(name, tensor.to(tensorAttribute(*module_.object, name).scalar_type()));
    for (const auto &[name, added] : module_.differences) {
      at::Tensor old = tensorAttribute(*module_.object, name), sum = old.to(at::kFloat);
      for (const auto &[tensor, weight] : added)
        sum = sum + weight * tensor.to(at::kFloat);
      set(name, sum.to(old.scalar_type()));
    }
    if (module_.tokens)
      set("weight",
          module_.weight.index_copy(0, at::tensor(module_.tokens->tokens),
                                    module_.tokens->rows.to(module_.weight.scalar_type())));
    if (module_.branches.empty() || !isCallable(*module_.object))
      return Error::success();
    if (module_.computesWeight)
      return makeError("module '{0}': its weight is computed each time (weight_norm), so that an "
                       "adapter cannot be merged into it to be compared with; compare with a trace "
                       "of the adapted model",
                       module_.path);
    at::Tensor weight = tensorAttribute(*module_.object, "weight").to(at::kFloat);
    at::Tensor bias = tensorAttribute(*module_.object, "bias");
    const AdapterBranch &first = module_.branches[0];
    if (first.kind == AdapterKind::Ia3) {
      at::Tensor scale = at::zeros({first["ia3_l"].numel()});
      for (const AdapterBranch &branch : module_.branches)
        scale = scale + branch.scale * of(branch, "ia3_l").flatten();
      weight = first.feedforward ? scaleInputs(weight, scale) : weight * along(scale, false);
      if (bias.defined() && !first.feedforward)
        bias = bias.to(at::kFloat) * scale;
    } else {
      for (const AdapterBranch &branch : module_.branches) {
        if (const char *why = module_.cannotMerge(branch))
          return makeError("module '{0}': the LoRA of a {1} convolution cannot be merged to be "
                           "compared with; compare with a trace of the adapted model",
                           module_.path, why);
        weight = weight + branch.scale * delta(branch).reshape(weight.sizes());
        if (!branch.find("lora_B.bias"))
          continue;
        if (!bias.defined())
          return makeError(
              "module '{0}': lora_bias on a layer without a bias cannot be merged to be "
              "compared with",
              module_.path);
        bias = bias.to(at::kFloat) + branch.scale * of(branch, "lora_B.bias");
      }
      if (first.dora)
        weight = weight * along(of(first, "lora_magnitude_vector").flatten() /
                                    norm(weight, first.doraInputs),
                                first.doraInputs);
    }
    set("weight", weight.to(module_.weight.scalar_type()));
    if (bias.defined())
      set("bias", bias.to(module_.bias.scalar_type()));
    return Error::success();
  }

private:
  void set(const std::string &name, at::Tensor value) {
    auto &object = const_cast<ModuleObject &>(*module_.object);
    object.setSlot(object.type()->getAttributeSlot(name), value.contiguous());
  }
  static at::Tensor of(const AdapterBranch &branch, const char *name) {
    return branch[name].to(at::kFloat);
  }
  bool transposed() const { return module_.use.kind == WeightUse::TransposedLinear; }

  at::Tensor along(const at::Tensor &vector, bool inputs) const {
    std::vector<int64_t> shape(module_.weight.dim(), 1);
    bool second = inputs != (transposed() || module_.use.kind == WeightUse::Embedding);
    shape[second ? 1 : 0] = vector.numel();
    return vector.reshape(shape);
  }
  at::Tensor norm(const at::Tensor &weight, bool inputs) const {
    bool second = inputs != (transposed() || module_.use.kind == WeightUse::Embedding);
    return at::linalg_vector_norm((second ? weight.transpose(0, 1) : weight).flatten(1), 2, 1);
  }
  /// Of a grouped convolution each group has inputs of its own.
  at::Tensor scaleInputs(const at::Tensor &weight, const at::Tensor &scale) const {
    if (module_.use.kind != WeightUse::Convolution)
      return weight * along(scale, true);
    int64_t in = weight.size(1), groups = scale.numel() / in;
    return (weight.reshape({groups, weight.size(0) / groups, in, -1}) *
            scale.reshape({groups, 1, in, 1}))
        .reshape(weight.sizes());
  }

  static at::Tensor tucker(const at::Tensor &core, const at::Tensor &a, const at::Tensor &b) {
    return at::einsum("ijk,jr,ip->prk", {core.flatten(2), b, a});
  }

  at::Tensor delta(const AdapterBranch &branch) const {
    switch (branch.kind) {
    case AdapterKind::Lora: {
      if (module_.use.kind == WeightUse::Embedding)
        return of(branch, "lora_embedding_B").matmul(of(branch, "lora_embedding_A")).t();
      at::Tensor a = of(branch, "lora_A").flatten(1);
      if (branch.find("lora_mid"))
        a = at::einsum("rsk,si->rik", {of(branch, "lora_mid").flatten(2), a}).flatten(1);
      at::Tensor product = of(branch, "lora_B").flatten(1).matmul(a);
      return transposed() ? product.t() : product;
    }
    case AdapterKind::Vera: {
      int64_t out = module_.weight.size(transposed() ? 1 : 0);
      int64_t in = module_.weight.size(transposed() ? 0 : 1);
      at::Tensor product =
          (of(branch, "vera_lambda_b").reshape({-1, 1}) * of(branch, "vera_B").narrow(0, 0, out))
              .matmul(of(branch, "vera_lambda_d").reshape({-1, 1}) *
                      of(branch, "vera_A").narrow(1, 0, in));
      return transposed() ? product.t() : product;
    }
    case AdapterKind::Loha: {
      auto product = [&](const char *a, const char *b, const char *core) {
        return branch.find(core) ? tucker(of(branch, core), of(branch, a), of(branch, b))
                                 : of(branch, a).matmul(of(branch, b));
      };
      return product("hada_w1_a", "hada_w1_b", "hada_t1") *
             product("hada_w2_a", "hada_w2_b", "hada_t2");
    }
    case AdapterKind::Lokr: {
      at::Tensor w1 = branch.find("lokr_w1")
                          ? of(branch, "lokr_w1")
                          : of(branch, "lokr_w1_a").matmul(of(branch, "lokr_w1_b"));
      at::Tensor w2 =
          branch.find("lokr_w2") ? of(branch, "lokr_w2")
          : branch.find("lokr_t2")
              ? tucker(of(branch, "lokr_t2"), of(branch, "lokr_w2_a"), of(branch, "lokr_w2_b"))
              : of(branch, "lokr_w2_a").matmul(of(branch, "lokr_w2_b"));
      std::vector<int64_t> kernel(module_.weight.sizes().slice(2).begin(),
                                  module_.weight.sizes().slice(2).end());
      std::vector<int64_t> shape = {w2.size(0), module_.weight.size(1) / w1.size(1)};
      shape.insert(shape.end(), kernel.begin(), kernel.end());
      w2 = w2.reshape(shape).contiguous(); // at::kron takes views of it
      if (branch.leadingKron)
        return at::kron(w1, w2);
      std::vector<int64_t> ones = {w1.size(0), w1.size(1)};
      ones.resize(shape.size(), 1);
      return at::kron(w1.reshape(ones), w2);
    }
    case AdapterKind::Ia3:
    case AdapterKind::LnTuning:
      break;
    }
    return at::zeros_like(module_.weight);
  }

  const AdaptedModule &module_;
};

} // namespace

static Error writeMergedUnguarded(llvm::StringRef base, llvm::ArrayRef<AdapterSpec> adapters,
                                  const std::optional<std::string> &root, bool allowUnmatched,
                                  llvm::StringRef output) {
  auto loaded = loadTorchScript(base, MappedFile::Access::CopyOnWrite);
  if (!loaded)
    return loaded.takeError();
  torch::jit::Module &module = loaded->module;
  module.eval();
  for (const at::Tensor &parameter : module.parameters())
    if (parameter.scalar_type() == at::kHalf || parameter.scalar_type() == at::kBFloat16) {
      module.to(at::kFloat);
      break;
    }
  std::vector<AdapterUse> uses;
  for (const AdapterSpec &spec : adapters) {
    auto file = AdapterFile::open(spec.path);
    if (!file)
      return file.takeError();
    uses.push_back({std::move(*file), spec.weight});
  }
  std::vector<std::string> warnings;
  auto plan = AdapterPlan::make(module, uses, root, allowUnmatched, warnings);
  if (!plan)
    return addContext(plan.takeError(), adapters[0].path);
  for (const AdaptedModule &adapted : plan->modules()) {
    for (const char *name : {"weight", "bias"})
      if (!adapted.tokens && plan->base().isTied(tensorAttribute(*adapted.object, name)))
        return makeError(
            "module '{0}': its {1} is another module's too, so that an adapter cannot "
            "be merged into it to be compared with; compare with a trace of the adapted "
            "model",
            adapted.path, name);
    if (Error error = Merger(adapted).merge())
      return error;
  }
  module.save(output.str());
  return Error::success();
}

Error writeMerged(llvm::StringRef base, llvm::ArrayRef<AdapterSpec> adapters,
                  const std::optional<std::string> &root, bool allowUnmatched,
                  llvm::StringRef output) {
  at::NoGradGuard noGrad;
  try {
    return writeMergedUnguarded(base, adapters, root, allowUnmatched, output);
  } catch (const c10::Error &error) {
    return makeError("{0}: {1}", base, error.what_without_backtrace());
  }
}

} // namespace plait::frontend
