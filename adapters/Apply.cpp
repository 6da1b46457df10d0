// Which constants of a lowered base an adapter exchanges, and what it adds at the borders of
// modules.
#include "adapters/Apply.h"

#include "adapters/ParameterView.h"
#include "adapters/Tensors.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"

namespace plait::adapters {

using llvm::StringRef;
using mil::Builder;
using mil::DType;
using mil::LoraMode;
using mil::Op;
using mil::OpKind;

static bool scalesInput(const AdaptedModule &module) {
  return llvm::any_of(module.branches, [](const AdapterBranch &branch) {
    return (branch.kind == AdapterKind::Ia3 && branch.feedforward) ||
           (branch.dora && branch.doraInputs);
  });
}

std::vector<mil::BorderedModule> borderedModules(const AdapterPlan &plan, LoraMode mode) {
  std::vector<mil::BorderedModule> bordered;
  for (const AdaptedModule &module : plan.modules())
    if (!module.branches.empty() || module.tokens)
      bordered.push_back({module.index,
                          module.layer.kind,
                          {module.weight.shape().begin(), module.weight.shape().end()},
                          mode != LoraMode::Fold && scalesInput(module)});
  return bordered;
}

Error checkInputs(const AdapterPlan &plan, llvm::ArrayRef<AdapterSpec> adapters) {
  const char *advice = "compile it with --lora keep";
  if (adapters.size() > 1 || adapters[0].weight != 1)
    return makeError(Code::AdapterInputs, "a blend of adapters cannot be inputs; {0}", advice);
  for (const AdaptedModule &module : plan.modules()) {
    if (std::vector<std::string> changed = module.changedAttributes(); !changed.empty())
      return makeError(Code::AdapterInputs,
                       "the adapter replaces '{0}.{1}', which cannot be an input; {2}", module.path,
                       changed.front(), advice);
    if (module.tokens)
      return makeError(Code::AdapterInputs,
                       "the adapter replaces rows of '{0}', which cannot be inputs; {1}",
                       module.path, advice);
    for (const AdapterBranch &branch : module.branches) {
      if (branch.dora)
        return makeError(Code::AdapterInputs,
                         "module '{0}': a DoRA's norms depend on its matrices and the weight, so "
                         "that they cannot be inputs; {1}",
                         module.path, advice);
      bool isKernel = branch.kind == AdapterKind::Lokr || branch.find("lora_mid") || branch.dilated;
      if (isKernel && module.layer.kind == Layer::Convolution && module.layer.isDilated())
        return makeError(
            Code::AdapterInputs,
            "module '{0}': Core ML dilates no kernel that is an input, as the {1} of a "
            "dilated convolution would be; {2}",
            module.path, name(branch.kind), advice);
    }
  }
  return Error::success();
}

namespace {

class Applier {
public:
  Applier(mil::Function &function, const AdapterPlan &plan, LoraMode mode,
          const GivenParameters &given)
      : function_(function), plan_(plan), mode_(mode), given_(given), factors_(mode, function) {
    for (const AdaptedModule &module : plan.modules())
      modules_[module.index] = &module;
  }

  Expected<Application> run() {
    findConstants();
    std::vector<mil::ModuleCall> calls = mil::moduleCalls(function_);
    for (const mil::ModuleCall &call : calls)
      uses_[call.module].called = true;
    for (const AdaptedModule &module : plan_.modules())
      noteDirectReads(module);
    // What a branch makes of a parameter goes before what an adapter brings for another name of it.
    for (const AdaptedModule &module : plan_.modules())
      if (Error error = mergeParameters(module))
        return error;
    for (const AdaptedModule &module : plan_.modules())
      if (Error error = exchangeParameters(module))
        return error;
    for (const mil::ModuleCall &call : calls)
      if (auto it = modules_.find(call.module);
          it != modules_.end() && (!it->second->branches.empty() || it->second->tokens))
        if (Error error = adapt(*it->second, call))
          return error;
    mil::removeBorders(function_);
    Application result;
    result.inputs.assign(factors_.inputs().begin(), factors_.inputs().end());
    result.missing = std::move(missing_);
    if (result.missing.empty())
      result.unused = describeUnused(plan_, uses_, result.allUnused);
    return result;
  }

private:
  // ---- Parameters ----

  void findConstants() {
    mil::walk(function_.body(), [&](Op &op) {
      // What nobody uses may have been read as a number too.
      if (!op.is(OpKind::const_) || !op.val().tensor() || !op.result()->hasUses())
        return;
      mil::forEachLeaf(*op.val().tensor(), [&](const TensorData::Node &leaf) {
        for (StringRef path : leaf.origin.paths()) {
          auto &found = leaf.origin.isComputed() ? computed_[path] : constants_[path];
          if (!llvm::is_contained(found, &op))
            found.push_back(&op);
        }
      });
    });
  }

  /// The constants of a module's parameter.
  std::vector<Op *> constantsOf(const llvm::StringMap<std::vector<Op *>> &all,
                                const AdaptedModule &module, StringRef name) const {
    std::vector<Op *> found;
    for (const BaseModules::Entry &entry : plan_.base().entries())
      if (entry.module == module.index) {
        auto it = all.find(entry.path.empty() ? name.str() : entry.path + "." + name.str());
        for (Op *op : it == all.end() ? std::vector<Op *>() : it->second)
          if (!llvm::is_contained(found, op))
            found.push_back(op);
      }
    return found;
  }

  bool isInside(const Op &op, const AdaptedModule &module) const {
    return plan_.base().tree().isIn(StringRef(op.location.module()), module.index);
  }

  /// Of a parameter in half precision PEFT's sums are rounded to it.
  static Value *stored(BranchBuilder &build, Value *value, const TensorData &old) {
    return old.dtype() == DType::F16 ? build.cast(build.cast(value, DType::F16), DType::F32)
                                     : value;
  }

  using Make = llvm::function_ref<Value *(BranchBuilder &)>;

  /// Puts what `make` gives, which has the parameter's own layout, in place of the parameter: where
  /// the module's own code uses it, or where other code does. False where a use is of another form.
  Expected<bool> exchange(const AdaptedModule &module, StringRef name, bool inside, Make make) {
    const TensorData &parameter = module.parameters.find(name.str())->second;
    bool all = true;
    for (Op *constant : constantsOf(constants_, module, name)) {
      llvm::SmallVector<mil::Operand *, 4> operands;
      for (mil::Operand &use : constant->result()->uses())
        if (isInside(*use.owner(), module) == inside)
          operands.push_back(&use);
      if (operands.empty())
        continue;
      Builder builder = Builder::before(constant);
      BranchBuilder build(builder);
      Value *value = viewLike(build, *constant->val().tensor(), parameter,
                              stored(build, make(build), parameter));
      if (Error error = builder.takeError())
        return error;
      if (!value) {
        all = false;
        continue;
      }
      for (mil::Operand *operand : operands)
        operand->set(value);
      dropNoBias(*value);
      uses_[module.index].read.insert(name.str());
    }
    for (Op *constant : constantsOf(computed_, module, name))
      for (const mil::Operand &use : constant->result()->uses())
        all &= isInside(*use.owner(), module) != inside;
    return all;
  }

  /// A convolution may do without a bias; the others add zeros.
  static void dropNoBias(const Value &value) {
    const TensorData *tensor = mil::constTensor(&value);
    if (!tensor || tensor->kind() != TensorData::Kind::Strided || tensor->byteSize() == 0 ||
        llvm::any_of(tensor->node().strides, [](int64_t stride) { return stride != 0; }) ||
        !isZero(*tensor))
      return;
    for (Op *user : value.users())
      if (user->is(OpKind::conv) && (*user)[mil::conv::bias] == &value)
        user->set(mil::conv::bias, nullptr);
  }

  const mil::GivenParameter *given(const AdaptedModule &module, StringRef name) const {
    auto it = llvm::find_if(given_.values, [&](const mil::GivenParameter &value) {
      return value.module == module.index && value.name == name;
    });
    return it == given_.values.end() ? nullptr : &*it;
  }

  /// A parameter of its own, or with what is added to it, where nothing else changes it.
  Error exchangeChanged(const AdaptedModule &module, StringRef name, bool insideToo) {
    if (const mil::GivenParameter *own = given(module, name); own && own->value) {
      if (given_.read.count({module.index, name.str()}))
        uses_[module.index].read.insert(name.str());
      return Error::success();
    }
    const TensorData &old = module.parameters.find(name.str())->second;
    auto make = [&](BranchBuilder &build) { return changedParameter(build, module, name); };
    bool complete = true;
    for (bool inside : {true, false}) {
      // A tied parameter that is read elsewhere is another module's use of it, which keeps the
      // base's.
      if (inside ? !insideToo : plan_.base().isTied(old))
        continue;
      auto all = exchange(module, name, inside, make);
      if (!all)
        return all.takeError();
      complete &= *all;
    }
    bool isFound = !constantsOf(constants_, module, name).empty() ||
                   !constantsOf(computed_, module, name).empty();
    if (!complete || !isFound)
      missing_.push_back(
          {module.index, name.str(), changedValue(module, name, old), plan_.base().isTied(old)});
    return Error::success();
  }

  static TensorData changedValue(const AdaptedModule &module, StringRef name,
                                 const TensorData &old) {
    auto replaced = module.replaced.find(name.str());
    if (replaced != module.replaced.end())
      return replaced->second.cast(old.dtype());
    std::vector<float> values = floatsOf(old);
    for (const auto &[tensor, weight] : module.differences.find(name.str())->second)
      for (auto [value, added] : llvm::zip(values, floatsOf(tensor)))
        value += float(weight) * added;
    return ofFloats(old.shape(), values).cast(old.dtype());
  }

  /// What a branch makes of a parameter, in the module's own code alone.
  Error exchangeMerged(const AdaptedModule &module, StringRef name, Make make) {
    auto all = exchange(module, name, /*inside=*/true, make);
    if (!all)
      return all.takeError();
    if (*all && uses_[module.index].read.count(name.str()))
      return Error::success();
    if (!given(module, name)) {
      missing_.push_back({module.index, name.str(), {}, /*isTied=*/false});
      return Error::success();
    }
    return makeError(Code::AdapterMerge,
                     "module '{0}': its {1} is computed with before the layer uses it, so that "
                     "nothing can be merged into it; compile it with --lora keep, or trace the "
                     "adapted model and give it as --function NAME=MODEL.pt",
                     module.path, name);
  }

  Error mergeParameters(const AdaptedModule &module) {
    std::set<std::string> &merged = merged_[module.index];
    bool hasBranches = !module.branches.empty() && uses_[module.index].called;
    const AdapterBranch *first = hasBranches ? &module.branches[0] : nullptr;
    if (first && mode_ == LoraMode::Fold) {
      if (Error error = checkMergeable(module))
        return error;
      merged = {"weight"};
      if (Error error = exchangeMerged(
              module, "weight", [&](BranchBuilder &build) { return mergedWeight(build, module); }))
        return error;
      if (changesBias(module)) {
        merged.insert("bias");
        if (Error error = exchangeMerged(
                module, "bias", [&](BranchBuilder &build) { return mergedBias(build, module); }))
          return error;
      }
    } else if (first && first->dora && !first->doraInputs && module.bias) {
      // DoRA scales what the weight gives, not the bias.
      merged = {"bias"};
      if (Error error = exchangeMerged(module, "bias", [&](BranchBuilder &build) {
            return build.builder().constant(TensorData::splat(DType::F32, module.bias.shape(), 0),
                                            "no_bias");
          }))
        return error;
    }
    return Error::success();
  }

  Error exchangeParameters(const AdaptedModule &module) {
    for (const std::string &name : module.changedAttributes())
      if (Error error = exchangeChanged(module, name, !merged_[module.index].count(name)))
        return error;
    if (!module.tokens || plan_.base().isTied(module.weight))
      return Error::success();
    auto all = exchange(module, "weight", /*inside=*/false,
                        [&](BranchBuilder &build) { return weightWithRows(build, module); });
    if (!all || *all)
      return all.takeError();
    if (!given(module, "weight")) {
      missing_.push_back({module.index, "weight", {}, /*isTied=*/false});
      return Error::success();
    }
    return makeError(Code::AdapterLayer,
                     "module '{0}' has rows for tokens, and the base computes with its weight "
                     "elsewhere; trace the adapted model and give it as --function NAME=MODEL.pt",
                     module.path);
  }

  /// Whether the weight is used by what is not the module's code.
  void noteDirectReads(const AdaptedModule &module) {
    if (module.parameters.count("weight") && !plan_.base().isTied(module.weight))
      for (const auto *all : {&constants_, &computed_})
        for (Op *constant : constantsOf(*all, module, "weight"))
          for (const mil::Operand &use : constant->result()->uses())
            uses_[module.index].readDirectly |= !isInside(*use.owner(), module);
  }

  // ---- Calls ----

  Error adapt(const AdaptedModule &module, const mil::ModuleCall &call) {
    if (!call.input)
      return makeError(Code::AdapterLayer,
                       "the adapted module '{0}' is called without a tensor that fits its weight; "
                       "trace the adapted model and give it as --function NAME=MODEL.pt",
                       module.path);
    if (!call.output)
      return makeError(Code::AdapterLayer, "the adapted module '{0}' gives no tensor", module.path);
    Builder builder = Builder::before(call.output);
    BranchBuilder build(builder);
    Value *x = (*call.input)[mil::identity::x], *y = (*call.output)[mil::identity::x];
    Value *adapted = module.tokens             ? replaceRows(build, module, x, y)
                     : mode_ == LoraMode::Fold ? addMissingBias(build, module, y)
                                               : beside(build, module, call, x, y);
    if (Error error = builder.takeError())
      return error;
    call.output->set(mil::identity::x, adapted);
    return Error::success();
  }

  static Value *addMissingBias(BranchBuilder &build, const AdaptedModule &module, Value *y) {
    Value *bias = changesBias(module) && !module.bias ? mergedBias(build, module) : nullptr;
    return bias ? build.add(y, perFeature(build, module, bias)) : y;
  }

  Value *beside(BranchBuilder &build, const AdaptedModule &module, const mil::ModuleCall &call,
                Value *x, Value *y) {
    const AdapterBranch &first = module.branches[0];
    if (scalesInput(module)) {
      Builder before = Builder::before(call.input);
      BranchBuilder in(before);
      Value *scale = first.dora ? doraScale(in, module, first) : featureScale(factors_, in, module);
      x = in.mul(in.cast(x, DType::F32), perFeature(in, module, scale));
      if (Error error = before.takeError()) {
        build.fail(std::move(error));
        return build.poison();
      }
      call.input->set(mil::identity::x, x);
    }
    if (first.kind == AdapterKind::Ia3)
      return first.feedforward
                 ? y
                 : build.mul(y, perFeature(build, module, featureScale(factors_, build, module)));
    if (module.layer.kind != Layer::Embedding)
      x = build.cast(x, DType::F32);
    for (const AdapterBranch &branch : module.branches)
      y = build.add(y, branchOutput(factors_, build, module, branch, x));
    if (!first.dora || first.doraInputs)
      return y;
    y = build.mul(y, perFeature(build, module, doraScale(build, module, first)));
    if (!module.bias)
      return y;
    return build.add(y, perFeature(build, module, changedParameter(build, module, "bias")));
  }

  mil::Function &function_;
  const AdapterPlan &plan_;
  LoraMode mode_;
  const GivenParameters &given_;
  FactorSource factors_;
  std::map<unsigned, const AdaptedModule *> modules_;
  llvm::StringMap<std::vector<Op *>> constants_, computed_; ///< by the path of a parameter
  std::map<unsigned, ModuleUse> uses_;
  std::map<unsigned, std::set<std::string>> merged_; ///< what mergeParameters() exchanged
  std::vector<mil::GivenParameter> missing_;
};

} // namespace

Expected<Application> apply(mil::Function &function, const AdapterPlan &plan, LoraMode mode,
                            const GivenParameters &given) {
  return Applier(function, plan, mode, given).run();
}

} // namespace plait::adapters
