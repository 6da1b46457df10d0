// One call of an adapted module: which argument is its input, what changes before and after.
#include "frontend/adapter/AdapterHook.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using llvm::StringRef;

AdapterHook::AdapterHook(const AdapterPlan &plan, AdapterMode mode) : plan_(plan), mode_(mode) {
  for (const AdaptedModule &module : plan.modules())
    states_[module.object].module = &module;
}

/// Whether an argument is the parameter itself: a trace passes a parameter that belongs to another
/// module too (tied weights) as an argument.
static bool isParameter(const Val &argument, const at::Tensor &parameter) {
  auto tensor = argument.tensor();
  if (!tensor || !parameter.defined() || !tensor->view.empty())
    return false;
  const auto *known = std::get_if<KnownTensor>(&tensor->cell->content);
  return known && known->tensor.defined() &&
         known->tensor.const_data_ptr() == parameter.const_data_ptr() &&
         known->tensor.sizes() == parameter.sizes();
}

std::optional<size_t> AdapterHook::inputOf(const AdaptedModule &module,
                                           llvm::ArrayRef<Val> arguments) const {
  std::optional<size_t> found;
  bool transposed = module.use.kind == WeightUse::TransposedLinear;
  for (size_t i = 1; i < arguments.size(); ++i) {
    auto tensor = arguments[i].tensor();
    if (!tensor || isParameter(arguments[i], module.weight) ||
        isParameter(arguments[i], module.bias))
      continue;
    bool fits;
    if (module.use.kind == WeightUse::Embedding)
      fits = at::isIntegralType(tensor->dtype(), false);
    else if (module.use.kind == WeightUse::Convolution)
      fits = tensor->shape.size() + 1 >= size_t(module.weight.dim());
    else
      fits = !tensor->shape.empty() &&
             tensor->shape.back() == Dim(module.weight.size(transposed ? 0 : 1));
    if (fits && !found)
      found = i;
  }
  return found;
}

// ---- Parameters --------------------------------------------------------------------------------

Val AdapterHook::replacement(Engine &engine, const AdaptedModule &module, StringRef name) {
  const at::Tensor &tensor = module.replaced.find(name.str())->second;
  at::Tensor old = tensorAttribute(*module.object, name);
  if (tensor.scalar_type() == old.scalar_type())
    return engine.fromIValue(tensor, module.path + "." + name.str(), /*fromWeight=*/true);
  // PEFT copies it into the base's parameter, which keeps its type.
  Val value = engine.makeTensor(engine.constant(tensor, name),
                                at::isFloatingType(tensor.scalar_type()) ? at::kFloat : at::kLong);
  return value.tensor() ? engine.castTensor(value.tensor(), old.scalar_type()) : value;
}

std::optional<Val> AdapterHook::attribute(Engine &engine, const Object &module, StringRef name,
                                          StringRef) {
  auto it = states_.find(&module);
  if (it == states_.end())
    return std::nullopt;
  State &state = it->second;
  if (auto overridden = state.overridden.find(name.str()); overridden != state.overridden.end())
    return overridden->second;
  if (!state.module->replaced.count(name.str()))
    return std::nullopt;
  // A tied parameter read from outside is another module's use of it, which keeps the base's.
  if (!state.active && plan_.base().isTied(tensorAttribute(module, name)))
    return std::nullopt;
  state.read[name.str()] = true;
  return replacement(engine, *state.module, name);
}

Val AdapterHook::factor(Ops &ops, const AdaptedModule &module, const AdapterBranch &branch,
                        StringRef name) {
  const AdapterBranch::Factor &factor = branch.factors.find(name.str())->second;
  if (mode_ != AdapterMode::Inputs)
    return ops.constant(factor.tensor, mil::legalName(module.path + "_" + name.str()));
  mil::Value *&value = inputValues_[factor.key];
  if (!value) {
    mil::Function &function = ops.engine().function();
    AdapterInput input;
    // VeRA's projections are every module's.
    bool isShared = name == "vera_A" || name == "vera_B";
    input.name =
        function.uniqueName(mil::legalName(isShared ? name.str() : module.name + "_" + name.str()))
            .str();
    input.key = factor.key;
    input.shape.assign(factor.tensor.sizes().begin(), factor.tensor.sizes().end());
    value = function.addInput(
        mil::Type::tensor(mil::DType::F16, llvm::ArrayRef<int64_t>(input.shape)), input.name);
    function.inputInfo.resize(function.inputs().size());
    inputs_.push_back(std::move(input));
  }
  return ops.engine().makeTensor(ops.engine().castTo(value, mil::DType::F32), at::kFloat);
}

// ---- Calls -------------------------------------------------------------------------------------

Val AdapterHook::runBase(Engine &engine, State &state, std::vector<Val> arguments,
                         std::map<std::string, Val> overridden, Base base) {
  const AdaptedModule &module = *state.module;
  for (const auto &[name, tensor] : module.replaced)
    if (!overridden.count(name) && llvm::any_of(arguments, [&](const Val &argument) {
          return isParameter(argument, tensorAttribute(*module.object, name));
        }))
      overridden[name] = replacement(engine, module, name);
  for (const auto &[name, value] : overridden) {
    state.read[name] = true;
    for (Val &argument : arguments)
      if (isParameter(argument, tensorAttribute(*module.object, name)))
        argument = value;
  }
  std::swap(state.overridden, overridden);
  ++state.active;
  std::vector<Val> results = base(std::move(arguments));
  --state.active;
  std::swap(state.overridden, overridden);
  return results.empty() ? Val() : results[0];
}

std::vector<Val> AdapterHook::call(Engine &engine, const Object &object, std::vector<Val> arguments,
                                   Base base) {
  auto it = states_.find(&object);
  if (it == states_.end())
    return base(std::move(arguments));
  State &state = it->second;
  state.called = true;
  if (state.module->branches.empty())
    return {runBase(engine, state, std::move(arguments), {}, base)};
  Ops ops(engine);
  return adapt(ops, state, std::move(arguments), base);
}

std::vector<Val> AdapterHook::adapt(Ops &ops, State &state, std::vector<Val> arguments, Base base) {
  const AdaptedModule &module = *state.module;
  Engine &engine = ops.engine();
  if (llvm::any_of(arguments, Engine::hasPoison))
    return {Val()};
  auto input = inputOf(module, arguments);
  if (!input) {
    engine.fail(makeError("the adapted module '{0}' is called without a tensor that fits its "
                          "weight; trace the adapted model and give it as --function NAME=MODEL.pt",
                          module.path));
    return {Val()};
  }
  if (mode_ == AdapterMode::Fold) {
    MergedParameters merged = mergeBranches(ops, module);
    std::map<std::string, Val> overridden = {{"weight", merged.weight}};
    if (merged.bias)
      overridden["bias"] = *merged.bias;
    Val y = runBase(engine, state, std::move(arguments), std::move(overridden), base);
    if (!merged.addend || !y.tensor())
      return {y};
    return {ops.cast(ops.add(y, perFeature(ops, module, *merged.addend)), y.tensor()->dtype())};
  }

  const AdapterBranch &first = module.branches[0];
  Val x = arguments[*input];
  if (first.kind == AdapterKind::Ia3) {
    Val scale = perFeature(ops, module, featureScale(this, ops, module));
    if (first.feedforward)
      arguments[*input] = ops.cast(ops.mul(ops.toFloat(x), scale), x.tensor()->dtype());
    Val y = runBase(engine, state, std::move(arguments), {}, base);
    if (!y.tensor() || first.feedforward)
      return {y};
    return {ops.cast(ops.mul(y, scale), y.tensor()->dtype())};
  }

  // DoRA scales what the weight gives, not the bias; or what goes into both.
  std::optional<Val> bias;
  std::map<std::string, Val> overridden;
  if (first.dora && first.doraInputs) {
    Val scaled = ops.mul(ops.toFloat(x), perFeature(ops, module, doraScale(ops, module, first)));
    arguments[*input] = ops.cast(scaled, x.tensor()->dtype());
    x = scaled;
  } else if (first.dora && module.bias.defined()) {
    bias = module.replaced.count("bias") ? replacement(engine, module, "bias")
                                         : ops.constant(module.bias, "bias");
    overridden["bias"] = ops.constant(
        mil::TensorData::splat(mil::DType::F32, module.bias.sizes().vec(), 0), "no_bias");
  }
  Val y = runBase(engine, state, std::move(arguments), std::move(overridden), base);
  if (!y.tensor()) {
    if (!y.isPoison())
      engine.fail(makeError("the adapted module '{0}' gives no tensor", module.path));
    return {Val()};
  }
  at::ScalarType dtype = y.tensor()->dtype();
  if (module.use.kind != WeightUse::Embedding)
    x = ops.toFloat(x);
  for (const AdapterBranch &branch : module.branches)
    y = ops.add(y, branchOutput(*this, ops, module, branch, x));
  if (first.dora && !first.doraInputs)
    y = ops.mul(y, perFeature(ops, module, doraScale(ops, module, first)));
  if (bias)
    y = ops.add(y, perFeature(ops, module, *bias));
  return {ops.cast(y, dtype)};
}

Error AdapterHook::checkAllUsed() const {
  std::vector<std::string> unused;
  for (const AdaptedModule &module : plan_.modules()) {
    const State &state = states_.find(module.object)->second;
    if (!module.branches.empty() && !state.called)
      unused.push_back("'" + module.path + "'");
    for (const auto &[name, tensor] : module.replaced)
      if (!state.read.count(name))
        unused.push_back("'" + module.path + "." + name + "'");
  }
  if (unused.empty())
    return Error::success();
  size_t count = unused.size();
  unused.resize(std::min<size_t>(count, 5));
  return makeError("the adapter changes {0}{1}, but the base never calls {2}: it uses the weight "
                   "directly (as nn.MultiheadAttention does with its out_proj), or the adapter "
                   "belongs to a part that the trace left out; trace the adapted model and give it "
                   "as --function NAME=MODEL.pt",
                   llvm::join(unused, ", "), count > unused.size() ? " …" : "",
                   count == 1 ? "it" : "them");
}

} // namespace plait::frontend
