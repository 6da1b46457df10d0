// What a branch adds to a module's result.
#include "adapters/Branch.h"

#include "adapters/InputKind.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::adapters {

using llvm::StringRef;
using mil::DType;
using mil::LoraMode;
using mil::OpKind;

Value *FactorSource::get(BranchBuilder &build, const AdaptedModule &module,
                         const AdapterBranch &branch, StringRef name) {
  const AdapterBranch::Factor &factor = branch.factors.find(name.str())->second;
  if (mode_ != LoraMode::Inputs)
    return build.constant(factor.tensor, mil::legalName(module.path + "_" + name.str()));
  Value *&value = values_[factor.key];
  if (!value) {
    AdapterInput input;
    // VeRA's projections are every module's.
    bool isShared = name == "vera_A" || name == "vera_B";
    input.name =
        function_.uniqueName(mil::legalName(isShared ? name.str() : module.name + "_" + name.str()))
            .str();
    input.key = factor.key;
    input.kind = inputKind(module, branch);
    input.shape.assign(factor.tensor.shape().begin(), factor.tensor.shape().end());
    value = function_.addInput(mil::Type::tensor(DType::F16, llvm::ArrayRef<int64_t>(input.shape)),
                               input.name);
    function_.inputInfo.resize(function_.inputs().size());
    inputs_.push_back(std::move(input));
  }
  return build.cast(value, DType::F32);
}

// ---- Convolutions ------------------------------------------------------------------------------

Value *convolve(BranchBuilder &build, const AdaptedModule &module, Value *x, Value *weight,
                Geometry geometry, int64_t groups) {
  const Layer &layer = module.layer;
  auto refuse = [&](const char *what) {
    build.fail(
        makeError(Code::AdapterLayer,
                  "the adapted module '{0}' is {1}, which adapters are not applied to; trace "
                  "the adapted model and give it as --function NAME=MODEL.pt",
                  module.path, what));
    return build.poison();
  };
  if (!layer.isOfInput)
    return refuse("a convolution of something else than its input (it pads with other than zeros, "
                  "or has no batch)");
  bool ofBase = geometry != Geometry::Pointwise, allOfBase = geometry == Geometry::AllOfBase;
  if (layer.transposed)
    return refuse("a transposed convolution");
  if ((ofBase && (!layer.strides || (!layer.padding && layer.paddingMode.empty()))) ||
      (allOfBase && (!layer.dilations || !layer.groups)))
    return refuse("a convolution whose geometry is computed");
  if (mil::Builder::isPoison(x) || mil::Builder::isPoison(weight))
    return build.poison();

  size_t spatial = module.weight.rank() - 2;
  Layer::Sizes ones(spatial, 1), dilations = allOfBase ? *layer.dilations : ones;
  llvm::SmallVector<int64_t, 6> pad;
  for (size_t i = 0; i < spatial; ++i) {
    int64_t before = 0, after = 0;
    if (ofBase && layer.paddingMode == "same") {
      // An odd total has its larger half behind.
      int64_t total = dilations[i] * (weight->type.shape()[i + 2].value() - 1);
      before = total / 2;
      after = total - before;
    } else if (ofBase && layer.paddingMode.empty()) {
      before = after = (*layer.padding)[i];
    }
    pad.append({before, after});
  }
  bool padded = llvm::any_of(pad, [](int64_t size) { return size != 0; });
  bool batched = x->type.rank() == spatial + 2;
  Value *y = build.builder().emit(
      OpKind::conv, {{mil::conv::x, batched ? x : build.expand(x, 0)},
                     {mil::conv::weight, weight},
                     {mil::conv::strides, llvm::ArrayRef<int64_t>(ofBase ? *layer.strides : ones)},
                     {mil::conv::pad_type, padded ? "custom" : "valid"},
                     {mil::conv::pad, llvm::ArrayRef<int64_t>(pad)},
                     {mil::conv::dilations, llvm::ArrayRef<int64_t>(dilations)},
                     {mil::conv::groups, allOfBase ? *layer.groups : groups}});
  return batched ? y : build.squeeze(y, 0);
}

Value *convolveDelta(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                     const AdapterBranch &branch, Value *x, Value *delta) {
  if (module.layer.isDilated()) {
    build.fail(makeError(Code::AdapterLayer,
                         "module '{0}': the {1} of a dilated convolution is computed when the "
                         "function runs, and Core ML dilates no weight that is; merge it into the "
                         "model (merge_and_unload) and give that as --function NAME=MODEL.pt",
                         module.path, name(branch.kind)));
    return build.poison();
  }
  return build.mul(convolve(build, module, x, delta, Geometry::AllOfBase), factors.scaleOf(branch));
}

// ---- Outputs -----------------------------------------------------------------------------------

Value *branchOutput(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                    const AdapterBranch &branch, Value *x) {
  switch (branch.kind) {
  case AdapterKind::Lora:
    return loraOutput(factors, build, module, branch, x);
  case AdapterKind::Vera:
    return veraOutput(factors, build, module, branch, x);
  case AdapterKind::Loha:
    return lohaOutput(factors, build, module, branch, x);
  case AdapterKind::Lokr:
    return lokrOutput(factors, build, module, branch, x);
  case AdapterKind::Ia3:
  case AdapterKind::LnTuning:
    break;
  }
  assert(false && "(IA)3 and LN tuning add nothing");
  return build.poison();
}

Value *perFeature(BranchBuilder &build, const AdaptedModule &module, Value *vector) {
  Shape shape = {mil::numElements(llvm::ArrayRef<Dim>(BranchBuilder::shapeOf(vector)))};
  if (module.layer.kind == Layer::Convolution)
    shape.append(module.weight.rank() - 2, Dim(1));
  return build.reshape(vector, shape);
}

Value *featureScale(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module) {
  Value *sum = nullptr;
  for (const AdapterBranch &branch : module.branches) {
    Value *scale = factors.get(build, module, branch, "ia3_l");
    scale = build.mul(build.reshape(scale, {Dim(branch["ia3_l"].numElements())}),
                      factors.scaleOf(branch));
    sum = sum ? build.add(sum, scale) : scale;
  }
  return sum;
}

} // namespace plait::adapters
