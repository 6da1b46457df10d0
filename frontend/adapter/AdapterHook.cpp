// One call of an adapted module: which argument is its input, what changes before and after.
#include "frontend/adapter/AdapterHook.h"

#include "frontend/adapter/InputForm.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using llvm::StringRef;

AdapterHook::AdapterHook(const AdapterPlan &plan, AdapterMode mode) : plan_(plan), mode_(mode) {
  for (const AdaptedModule &module : plan.modules())
    states_[module.object].module = &module;
}

bool AdapterHook::isParameter(const Val &argument, const at::Tensor &parameter) const {
  auto tensor = argument.tensor();
  if (!tensor || !parameter.defined() || !tensor->view.empty())
    return false;
  if (auto given = given_.find(tensor->cell.get()); given != given_.end())
    return given->second.second == parameter.const_data_ptr();
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
  at::Tensor old = tensorAttribute(*module.object, name);
  if (module.differences.count(name.str())) {
    Ops ops(engine);
    return ops.cast(changedParameter(ops, module, name), old.scalar_type());
  }
  const at::Tensor &tensor = module.replaced.find(name.str())->second;
  if (tensor.scalar_type() == old.scalar_type())
    return engine.fromIValue(tensor, module.path + "." + name.str(), /*fromWeight=*/true);
  // PEFT copies it into the base's parameter, which keeps its type.
  Val value = engine.makeTensor(engine.constant(tensor, name, mil::Origin::unnamed()),
                                at::isFloatingType(tensor.scalar_type()) ? at::kFloat : at::kLong);
  return value.tensor() ? engine.castTensor(value.tensor(), old.scalar_type()) : value;
}

std::optional<Val> AdapterHook::attribute(Engine &engine, const Object &module, StringRef name,
                                          StringRef) {
  auto it = states_.find(&module);
  if (it == states_.end())
    return std::nullopt;
  State &state = it->second;
  state.readDirectly |=
      !state.active && name == "weight" && !plan_.base().isTied(state.module->weight);
  if (auto overridden = state.overridden.find(name.str()); overridden != state.overridden.end())
    return overridden->second;
  if (state.module->tokens && !state.active && name == "weight" &&
      !plan_.base().isTied(state.module->weight)) {
    Ops ops(engine);
    Val value = weightWithRows(ops, *state.module);
    if (auto tensor = value.tensor())
      given_[tensor->cell.get()] = {value, state.module->weight.const_data_ptr()};
    return value;
  }
  if (!state.module->changes(name))
    return std::nullopt;
  // A tied parameter read from outside is another module's use of it, which keeps the base's.
  if (!state.active && plan_.base().isTied(tensorAttribute(module, name)))
    return std::nullopt;
  state.read.insert(name.str());
  Val value = replacement(engine, *state.module, name);
  if (auto tensor = value.tensor())
    given_[tensor->cell.get()] = {value, tensorAttribute(module, name).const_data_ptr()};
  return value;
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
    input.form = inputForm(module, branch);
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
  for (const std::string &name : module.changedAttributes())
    if (!overridden.count(name) && llvm::any_of(arguments, [&](const Val &argument) {
          return isParameter(argument, tensorAttribute(*module.object, name));
        }))
      overridden[name] = replacement(engine, module, name);
  for (const auto &[name, value] : overridden) {
    state.read.insert(name);
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
  Ops ops(engine);
  if (state.module->branches.empty()) {
    if (!state.module->tokens)
      return {runBase(engine, state, std::move(arguments), {}, base)};
    auto input = inputOf(*state.module, arguments);
    Val x = input ? arguments[*input] : Val();
    // A trace that reads the weight beside the call too hands it over.
    for (Val &argument : arguments)
      if (argument.tensor() && given_.count(argument.tensor()->cell.get()) &&
          isParameter(argument, state.module->weight))
        argument = engine.fromIValue(state.module->weight, state.module->path + ".weight",
                                     /*fromWeight=*/true);
    Val y = runBase(engine, state, std::move(arguments), {}, base);
    return {replaceRows(ops, *state.module, x, y)};
  }
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
    bias = changedParameter(ops, module, "bias");
    // A convolution may do without; the others add zeros.
    overridden["bias"] =
        module.use.kind == WeightUse::Convolution
            ? Val(c10::IValue())
            : ops.constant(mil::TensorData::splat(mil::DType::F32, module.bias.sizes().vec(), 0),
                           "no_bias");
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

/// Whether all branches are LoRAs as they begin, changing nothing: what has had no part in
/// training, because the model does not call it.
static bool isUntrained(const AdaptedModule &module) {
  auto isZero = [](const at::Tensor *tensor) {
    return tensor && at::count_nonzero(*tensor).item<int64_t>() == 0;
  };
  return llvm::all_of(module.branches, [&](const AdapterBranch &branch) {
    if (branch.kind != AdapterKind::Lora ||
        !(isZero(branch.find("lora_A")) || isZero(branch.find("lora_B")) ||
          isZero(branch.find("lora_embedding_A")) || isZero(branch.find("lora_embedding_B"))))
      return false;
    if (const at::Tensor *bias = branch.find("lora_B.bias"); bias && !isZero(bias))
      return false;
    const at::Tensor *magnitude = branch.find("lora_magnitude_vector");
    if (!magnitude)
      return true;
    if (module.weight.dim() != 2 || magnitude->numel() != module.weight.size(0))
      return false;
    at::Tensor norm = at::linalg_vector_norm(module.weight.to(at::kFloat), 2, 1);
    return at::allclose(magnitude->to(at::kFloat).flatten(), norm, 1e-3);
  });
}

/// The first few of `paths`, and what stands for the rest.
static std::string listed(std::vector<std::string> paths) {
  size_t count = paths.size();
  paths.resize(std::min<size_t>(count, 5));
  return llvm::join(paths, ", ") + (count > paths.size() ? " …" : "");
}

/// Whether the parameter is another module's too, which was read and is replaced alike: of a tied
/// parameter PEFT saves each name.
bool AdapterHook::isReadElsewhere(const AdaptedModule &module, StringRef name) const {
  auto found = module.replaced.find(name.str());
  if (found == module.replaced.end())
    return false;
  at::Tensor old = tensorAttribute(*module.object, name);
  const at::Tensor &value = found->second;
  return llvm::any_of(plan_.modules(), [&](const AdaptedModule &other) {
    const State &state = states_.find(other.object)->second;
    return llvm::any_of(other.replaced, [&](const auto &replaced) {
      return state.read.count(replaced.first) &&
             tensorAttribute(*other.object, replaced.first).const_data_ptr() ==
                 old.const_data_ptr() &&
             replaced.second.sizes() == value.sizes() && at::equal(replaced.second, value);
    });
  });
}

/// A module of the base with code that is of the same class and has the same weight; null where
/// there is none.
static const BaseModules::Entry *calledAlias(const BaseModules &base, const AdaptedModule &module) {
  if (!base.isTied(module.weight) || isCallable(*module.object))
    return nullptr;
  auto it = llvm::find_if(base.entries(), [&](const BaseModules::Entry &entry) {
    at::Tensor other = tensorAttribute(*entry.object, "weight");
    return isCallable(*entry.object) && other.defined() &&
           other.const_data_ptr() == module.weight.const_data_ptr() &&
           entry.object->type()->name()->name() == module.object->type()->name()->name();
  });
  return it == base.entries().end() ? nullptr : &*it;
}

Error AdapterHook::checkAllUsed() const {
  std::vector<std::string> unused, direct, elsewhere;
  // A trace has the calls of a module that has several names under one of them.
  auto addUnused = [&](const AdaptedModule &module, const std::string &text) {
    if (const BaseModules::Entry *other = calledAlias(plan_.base(), module))
      elsewhere.push_back(text + " ('" + other->path + "' has its weight)");
    else
      unused.push_back(text);
  };
  auto isCalled = [&](const AdaptedModule &module) {
    return states_.find(module.object)->second.called;
  };
  auto isReadDirectly = [&](const AdaptedModule &module) {
    return states_.find(module.object)->second.readDirectly;
  };
  for (const AdaptedModule &module : plan_.modules()) {
    const State &state = states_.find(module.object)->second;
    if (!module.branches.empty() && !state.called && !isUntrained(module)) {
      if (state.readDirectly)
        direct.push_back("'" + module.path + "'");
      else
        addUnused(module, "'" + module.path + "'");
    }
    // Of an embedding and what is tied to it one is enough, where the rows are the same.
    if (module.tokens && llvm::none_of(plan_.modules(), [&](const AdaptedModule &other) {
          return other.tokens && (isCalled(other) || isReadDirectly(other)) &&
                 *other.tokens == *module.tokens &&
                 other.weight.const_data_ptr() == module.weight.const_data_ptr();
        }))
      addUnused(module, "'" + module.path + "'");
    for (const std::string &name : module.changedAttributes())
      if (!state.read.count(name) && !isReadElsewhere(module, name))
        addUnused(module, "'" + module.path + "." + name + "'");
  }
  if (!direct.empty())
    return makeError("the adapter changes {0}, and the base uses the weight without calling the "
                     "module, as a frozen file does, nn.MultiheadAttention with its out_proj, and "
                     "nn.TransformerEncoder with all of its layers unless "
                     "torch.backends.mha.set_fastpath_enabled(False) was called before it was "
                     "traced; trace the adapted model and give it as --function NAME=MODEL.pt, or "
                     "go on without what the adapter does there with --allow-unmatched",
                     listed(std::move(direct)));
  if (!elsewhere.empty())
    return makeError("the adapter changes {0}, which the base has no calls of: where the two are "
                     "one module, a trace has its calls under one of the names, and PEFT adapts "
                     "those by the other; trace the adapted model and give it as --function "
                     "NAME=MODEL.pt, or, where they only share the weight, go on without what the "
                     "adapter does there with --allow-unmatched",
                     listed(std::move(elsewhere)));
  if (!unused.empty())
    return makeError("the adapter changes {0}, which the base never uses: it belongs to a part of "
                     "the model that the base leaves out; --allow-unmatched goes on without it",
                     listed(std::move(unused)));
  return Error::success();
}

} // namespace plait::frontend
