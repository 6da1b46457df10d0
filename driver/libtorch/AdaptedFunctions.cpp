// Plans first, since what they adapt is marked while the base is lowered; then one base for all.
#include "driver/libtorch/AdaptedFunctions.h"

#include "adapters/Apply.h"
#include "adapters/MergedParameters.h"
#include "frontend/FunctionChecker.h"
#include "frontend/archive/TensorFile.h"
#include "mil/Clone.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::driver {

using adapters::AdapterFile;
using adapters::AdapterPlan;
using llvm::StringRef;
using mil::LoraMode;

struct AdaptedFunctions::Planned {
  AdapterPlan plan;
  LoraMode mode;
  std::vector<Warning> warnings;
};

struct AdaptedFunctions::Base {
  const FunctionOptions *of; ///< the first function that it was lowered for
  frontend::LoweringOptions lowering;
  /// Parameters that are constants, not to be computed with, since adapters are merged into them.
  std::vector<mil::GivenParameter> constants;
  std::unique_ptr<mil::Program> program;
  std::vector<Warning> warnings;

  const mil::Function &function() const { return *program->functions()[0]; }
  Error lower(frontend::Models &models, std::vector<Warning> &warnings) {
    program = std::make_unique<mil::Program>();
    lowering.given = constants;
    return models.lower(*program, *of, lowering, warnings);
  }
};

frontend::LoweringOptions loweringOptions(const CompileOptions &options) {
  frontend::LoweringOptions lowering;
  lowering.floatType =
      options.precision == passes::Precision::F16 ? mil::DType::F16 : mil::DType::F32;
  return lowering;
}

AdaptedFunctions::AdaptedFunctions(const CompileOptions &options, frontend::Models &models)
    : options_(options), models_(models) {}
AdaptedFunctions::~AdaptedFunctions() = default;

// ---- Plans -------------------------------------------------------------------------------------

static Expected<AdapterPlan>
makePlan(std::map<std::string, std::shared_ptr<const AdapterFile>> &files,
         std::shared_ptr<const mil::ModuleTree> tree, const adapters::AdapterOptions &options,
         std::vector<Warning> &warnings) {
  std::vector<adapters::AdapterUse> uses;
  for (const adapters::AdapterSpec &spec : options.specs) {
    auto &file = files[spec.path];
    if (!file) {
      auto opened = AdapterFile::open(spec.path, readTensorFile);
      if (!opened)
        return opened.takeError();
      file = std::move(*opened);
    }
    uses.push_back({file, spec.weight, spec.scale});
  }
  auto plan =
      AdapterPlan::make(std::move(tree), uses, options.root, options.allowUnmatched, warnings);
  if (!plan)
    return addContext(plan.takeError(), options.specs[0].path);
  return plan;
}

Error checkAdapters(frontend::Models &models, const FunctionOptions &function) {
  auto tree = models.describe(function);
  if (!tree)
    return tree.takeError();
  std::map<std::string, std::shared_ptr<const AdapterFile>> files;
  std::vector<Warning> warnings;
  auto plan = makePlan(files, std::move(*tree), function.adapters, warnings);
  if (!plan)
    return plan.takeError();
  return function.lora == LoraMode::Inputs
             ? addContext(adapters::checkInputs(*plan, function.adapters.specs),
                          function.adapters.specs[0].path)
             : Error::success();
}

Expected<AdaptedFunctions::Planned *> AdaptedFunctions::plan(const FunctionOptions &function) {
  auto &planned = plans_[&function];
  if (planned)
    return planned.get();
  auto tree = models_.describe(function);
  if (!tree)
    return tree.takeError();
  std::vector<Warning> warnings;
  auto plan = makePlan(files_, std::move(*tree), function.adapters, warnings);
  if (!plan)
    return plan.takeError();
  LoraMode mode = options_.loraOf(function);
  if (mode == LoraMode::Inputs)
    if (Error error = adapters::checkInputs(*plan, function.adapters.specs))
      return addContext(std::move(error), function.adapters.specs[0].path);
  planned = std::make_unique<Planned>(Planned{std::move(*plan), mode, std::move(warnings)});
  return planned.get();
}

// ---- Lowering ----------------------------------------------------------------------------------

/// The modules of `added` too; where both have one, it splits its input if either does.
static void unite(std::vector<mil::BorderedModule> &modules,
                  llvm::ArrayRef<mil::BorderedModule> added) {
  for (const mil::BorderedModule &module : added) {
    auto known = llvm::find_if(modules, [&](const auto &m) { return m.module == module.module; });
    if (known == modules.end())
      modules.push_back(module);
    else
      known->splitsInput |= module.splitsInput;
  }
}

Expected<AdaptedFunctions::Base *> AdaptedFunctions::baseOf(const FunctionOptions &function) {
  for (const auto &base : bases_)
    if (frontend::areAlike(*base->of, function))
      return base.get();
  auto base = std::make_unique<Base>();
  base->of = &function;
  base->lowering = loweringOptions(options_);
  // What any of them adapts is marked.
  for (const FunctionOptions &other : options_.functions)
    if (!other.adapters.specs.empty() && frontend::areAlike(other, function)) {
      auto planned = plan(other);
      if (!planned)
        return planned.takeError();
      unite(base->lowering.bordered, adapters::borderedModules((*planned)->plan, (*planned)->mode));
    }
  if (Error error = base->lower(models_, base->warnings))
    return error;
  bases_.push_back(std::move(base));
  return bases_.back().get();
}

Error AdaptedFunctions::lower(mil::Program &program, const FunctionOptions &function,
                              std::vector<Warning> &warnings,
                              std::vector<adapters::AdapterInput> &inputs) {
  auto planned = plan(function);
  if (!planned)
    return planned.takeError();
  const auto &[plan, mode, planWarnings] = **planned;
  llvm::append_range(warnings, planWarnings);
  auto base = baseOf(function);
  if (!base)
    return base.takeError();
  mil::Function *made = nullptr;
  auto applyTo = [&](adapters::GivenParameters given) {
    return adapters::apply(*made, plan, mode, given);
  };
  made = mil::cloneFunction(program, (*base)->function(), function.name);
  auto applied = applyTo({(*base)->constants, {}});
  if (applied && !applied->missing.empty()) {
    // The base computes with parameters that the adapter changes, or reads them as numbers. What
    // has a value is this function's alone; the others may be constants for all.
    program.eraseFunction(made);
    std::vector<mil::GivenParameter> own;
    for (mil::GivenParameter &parameter : applied->missing)
      (parameter.value ? own : (*base)->constants).push_back(std::move(parameter));
    std::vector<Warning> repeated;
    if (own.empty()) {
      if (Error error = (*base)->lower(models_, repeated))
        return error;
      made = mil::cloneFunction(program, (*base)->function(), function.name);
      applied = applyTo({(*base)->constants, {}});
    } else {
      frontend::LoweringOptions again = (*base)->lowering;
      llvm::append_range(own, (*base)->constants);
      again.given = own;
      adapters::GivenParameters given{own, {}};
      if (Error error = models_.lower(program, function, again, repeated, &given.read))
        return error;
      made = program.function(function.name);
      applied = applyTo(given);
    }
  }
  llvm::append_range(warnings, (*base)->warnings);
  Error error = applied ? Error::success() : applied.takeError();
  if (!error && !applied->unused.empty()) {
    std::string text = function.adapters.specs[0].path + ": " + applied->unused;
    if (function.adapters.allowUnmatched && !applied->allUnused)
      warnings.push_back({Code::AdapterUnmatched, std::move(text)});
    else
      error = makeError(Code::AdapterUnmatched, "{0}", text);
  }
  if (error) {
    program.eraseFunction(made);
    return addContext(std::move(error), function.model);
  }
  inputs = std::move(applied->inputs);
  return Error::success();
}

// ---- For verify --------------------------------------------------------------------------------

Expected<std::vector<frontend::ParameterValue>>
mergedParameters(StringRef base, const adapters::AdapterOptions &adapters) {
  frontend::Models models;
  auto tree = models.describe({"", base.str()});
  if (!tree)
    return tree.takeError();
  std::map<std::string, std::shared_ptr<const AdapterFile>> files;
  std::vector<Warning> warnings;
  auto plan = makePlan(files, std::move(*tree), adapters, warnings);
  if (!plan)
    return plan.takeError();
  auto merged = adapters::mergedParameters(*plan);
  if (!merged)
    return merged.takeError();
  std::vector<frontend::ParameterValue> values;
  for (adapters::MergedParameter &parameter : *merged)
    values.push_back({std::move(parameter.path), std::move(parameter.value)});
  return values;
}

} // namespace plait::driver
