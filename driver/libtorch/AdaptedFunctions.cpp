// Plans first, since what they adapt is marked while the base is lowered; then one base for all.
#include "driver/libtorch/AdaptedFunctions.h"

#include "adapters/Apply.h"
#include "adapters/MergedParameters.h"
#include "mil/Clone.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::driver {

using adapters::AdapterFile;
using adapters::AdapterMode;
using adapters::AdapterPlan;
using llvm::StringRef;

struct AdaptedFunctions::Planned {
  AdapterPlan plan;
  AdapterMode mode;
  std::vector<std::string> warnings;
};

struct AdaptedFunctions::Base {
  const FunctionOptions *of; ///< the first function that it was lowered for
  frontend::FunctionRequest request;
  /// Parameters that are constants, not to be computed with, since adapters are merged into them.
  std::vector<mil::GivenParameter> constants;
  std::unique_ptr<mil::Program> program;
  std::vector<std::string> warnings;

  const mil::Function &function() const { return *program->functions()[0]; }
  Error lower(AdaptedFunctions &functions, const FunctionOptions &function,
              std::vector<std::string> &warnings) {
    program = std::make_unique<mil::Program>();
    request.given = constants;
    return functions.lowerBase(*program, function, request, warnings, nullptr);
  }
};

AdapterMode adapterMode(const FunctionOptions &function, const CompileOptions &options) {
  if (function.adapterInputs)
    return AdapterMode::Inputs;
  bool fold = function.lora.value_or(options.lora) == passes::LoraMode::Fold;
  return fold ? AdapterMode::Fold : AdapterMode::Keep;
}

AdaptedFunctions::AdaptedFunctions(const CompileOptions &options, frontend::Models &models)
    : options_(options), models_(models) {}
AdaptedFunctions::~AdaptedFunctions() = default;

static bool haveSameShape(const frontend::InputSpec &a, const frontend::InputSpec &b) {
  return a.enumerated == b.enumerated && a.shape.size() == b.shape.size() &&
         llvm::all_of(llvm::zip(a.shape, b.shape), [](auto pair) {
           auto [x, y] = pair;
           return x.lower == y.lower && x.upper == y.upper;
         });
}

/// Whether two functions are the same but for their names and adapters.
static bool haveSameBase(const FunctionOptions &a, const FunctionOptions &b) {
  return a.model == b.model && a.module == b.module && a.method == b.method &&
         a.outputs == b.outputs && a.inputs.size() == b.inputs.size() &&
         llvm::all_of(llvm::zip(a.inputs, b.inputs), [](auto pair) {
           const auto &[x, y] = pair;
           return x.name == y.name && x.dtype == y.dtype && haveSameShape(x, y);
         });
}

// ---- Plans -------------------------------------------------------------------------------------

static Expected<AdapterPlan>
makePlan(std::map<std::string, std::shared_ptr<const AdapterFile>> &files,
         std::shared_ptr<const mil::ModuleTree> tree, llvm::ArrayRef<adapters::AdapterSpec> specs,
         const std::optional<std::string> &root, bool allowUnmatched,
         std::vector<std::string> &warnings) {
  std::vector<adapters::AdapterUse> uses;
  for (const adapters::AdapterSpec &spec : specs) {
    auto &file = files[spec.path];
    if (!file) {
      auto opened = AdapterFile::open(spec.path, pickleReader());
      if (!opened)
        return opened.takeError();
      file = std::move(*opened);
    }
    uses.push_back({file, spec.weight});
  }
  auto plan = AdapterPlan::make(std::move(tree), uses, root, allowUnmatched, warnings);
  if (!plan)
    return addContext(plan.takeError(), specs[0].path);
  return plan;
}

Expected<AdaptedFunctions::Planned *>
AdaptedFunctions::plan(const FunctionOptions &function, const frontend::FunctionRequest &request) {
  auto &planned = plans_[&function];
  if (planned)
    return planned.get();
  auto tree = function.module ? models_.describe(request, *function.module)
                              : models_.describe(function.model);
  if (!tree)
    return tree.takeError();
  std::vector<std::string> warnings;
  auto plan = makePlan(files_, std::move(*tree), function.adapters, function.adapterRoot,
                       function.allowUnmatched, warnings);
  if (!plan)
    return plan.takeError();
  AdapterMode mode = adapterMode(function, options_);
  if (mode == AdapterMode::Inputs)
    if (Error error = adapters::checkInputs(*plan, function.adapters))
      return addContext(std::move(error), function.adapters[0].path);
  planned = std::make_unique<Planned>(Planned{std::move(*plan), mode, std::move(warnings)});
  return planned.get();
}

// ---- Lowering ----------------------------------------------------------------------------------

Error AdaptedFunctions::lowerBase(mil::Program &program, const FunctionOptions &function,
                                  const frontend::FunctionRequest &request,
                                  std::vector<std::string> &warnings,
                                  frontend::ParameterNamesRead *read) {
  return function.module ? models_.lower(program, request, *function.module, warnings, read)
                         : models_.lower(program, request, warnings, read);
}

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

Expected<AdaptedFunctions::Base *>
AdaptedFunctions::baseOf(const FunctionOptions &function,
                         const frontend::FunctionRequest &request) {
  for (const auto &base : bases_)
    if (haveSameBase(*base->of, function))
      return base.get();
  auto base = std::make_unique<Base>();
  base->of = &function;
  base->request = request;
  // What any of them adapts is marked.
  for (const FunctionOptions &other : options_.functions)
    if (!other.adapters.empty() && haveSameBase(other, function)) {
      auto planned = plan(other, request);
      if (!planned)
        return planned.takeError();
      unite(base->request.bordered, adapters::borderedModules((*planned)->plan, (*planned)->mode));
    }
  if (Error error = base->lower(*this, function, base->warnings))
    return error;
  bases_.push_back(std::move(base));
  return bases_.back().get();
}

Error AdaptedFunctions::lower(mil::Program &program, const FunctionOptions &function,
                              const frontend::FunctionRequest &request,
                              std::vector<std::string> &warnings,
                              std::vector<adapters::AdapterInput> &inputs) {
  auto planned = plan(function, request);
  if (!planned)
    return planned.takeError();
  const auto &[plan, mode, planWarnings] = **planned;
  llvm::append_range(warnings, planWarnings);
  auto base = baseOf(function, request);
  if (!base)
    return base.takeError();
  mil::Function *made = nullptr;
  auto applyTo = [&](adapters::GivenParameters given) {
    return adapters::apply(*made, plan, mode, given);
  };
  made = mil::cloneFunction(program, (*base)->function(), request.name);
  auto applied = applyTo({(*base)->constants, {}});
  if (applied && !applied->missing.empty()) {
    // The base computes with parameters that the adapter changes, or reads them as numbers. What
    // has a value is this function's alone; the others may be constants for all.
    program.eraseFunction(made);
    std::vector<mil::GivenParameter> own;
    for (mil::GivenParameter &parameter : applied->missing)
      (parameter.value ? own : (*base)->constants).push_back(std::move(parameter));
    std::vector<std::string> repeated;
    if (own.empty()) {
      if (Error error = (*base)->lower(*this, function, repeated))
        return error;
      made = mil::cloneFunction(program, (*base)->function(), request.name);
      applied = applyTo({(*base)->constants, {}});
    } else {
      frontend::FunctionRequest again = (*base)->request;
      again.name = request.name;
      llvm::append_range(own, (*base)->constants);
      again.given = own;
      adapters::GivenParameters given{own, {}};
      if (Error error = lowerBase(program, function, again, repeated, &given.read))
        return error;
      made = program.function(request.name);
      applied = applyTo(given);
    }
  }
  llvm::append_range(warnings, (*base)->warnings);
  Error error = applied ? Error::success() : applied.takeError();
  if (!error && !applied->unused.empty()) {
    std::string text = function.adapters[0].path + ": " + applied->unused;
    if (function.allowUnmatched)
      warnings.push_back(std::move(text));
    else
      error = makeError("{0}", text);
  }
  if (error) {
    program.eraseFunction(made);
    return addContext(std::move(error), request.path);
  }
  inputs = std::move(applied->inputs);
  return Error::success();
}

// ---- For verify --------------------------------------------------------------------------------

Error writeMerged(StringRef base, llvm::ArrayRef<adapters::AdapterSpec> adapters,
                  const std::optional<std::string> &root, bool allowUnmatched, StringRef output) {
  frontend::Models models;
  auto tree = models.describe(base.str());
  if (!tree)
    return tree.takeError();
  std::map<std::string, std::shared_ptr<const AdapterFile>> files;
  std::vector<std::string> warnings;
  auto plan = makePlan(files, std::move(*tree), adapters, root, allowUnmatched, warnings);
  if (!plan)
    return plan.takeError();
  auto merged = adapters::mergedParameters(*plan);
  if (!merged)
    return merged.takeError();
  std::vector<frontend::ParameterValue> values;
  for (adapters::MergedParameter &parameter : *merged)
    values.push_back({std::move(parameter.path), std::move(parameter.value)});
  return frontend::writeWithParameters(base, values, output);
}

} // namespace plait::driver
