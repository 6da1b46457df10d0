// Finds the model's file and runs the comparison.
#include "driver/Verify.h"

#include "adapters/Pack.h"
#include "driver/AdapterMap.h"
#include "driver/Compiler.h"
#include "driver/libtorch/AdaptedFunctions.h"
#include "driver/libtorch/ExportedReference.h"
#include "frontend/Frontend.h"
#include "frontend/ModelArguments.h"
#include "frontend/Proceed.h"
#include "frontend/archive/ExportArchive.h"
#include "frontend/archive/RecordCheck.h"
#include "frontend/archive/TensorFile.h"
#include "frontend/live/OperationStop.h"
#include "frontend/live/OwnRandom.h"
#include "frontend/script/NodeLocation.h"
#include "mil/ConstantArguments.h"
#include "runtime/ReferenceArguments.h"
#include "support/Failure.h"

#include "llvm/Support/FileSystem.h"

namespace plait::driver {

/// What a merged parameter is computed from: the base's weight and the adapter's matrices.
static void addSources(const mil::TensorData &value, std::vector<mil::TensorData> &sources) {
  if (value.kind() == mil::TensorData::Kind::Strided)
    sources.push_back(value);
  for (const mil::TensorData &input : value.node().inputs)
    addSources(input, sources);
}

/// The model that a function was made from, loaded anew: with adapters, LibTorch has merged them
/// into it. `sources` is given what they were merged from.
static Expected<std::shared_ptr<torch::jit::Module>>
moduleOf(const VerifyModel &model, std::vector<mil::TensorData> *sources = nullptr) {
  if (model.adapters.specs.empty())
    return frontend::moduleWithParameters(model.against, {});
  auto values = mergedParameters(model.against, model.adapters);
  if (!values)
    return values.takeError();
  if (sources)
    for (const frontend::ParameterValue &parameter : *values)
      addSources(parameter.value, *sources);
  return frontend::moduleWithParameters(model.against, std::move(*values));
}

/// The arguments of the model's forward, as they were made when it was compiled.
static runtime::ArgumentBinder binderOf(std::shared_ptr<torch::jit::Module> module,
                                        const mil::Function &function) {
  return [make = frontend::argumentMaker(std::move(module), mil::constantArgumentsOf(function))](
             std::vector<c10::IValue> &arguments, llvm::ArrayRef<runtime::NamedTensor> inputs) {
    std::vector<std::string> names;
    for (const runtime::NamedTensor &input : inputs)
      names.push_back(input.name);
    return make(arguments, names);
  };
}

/// The model as the reference, with its tensors, and its steps where those are looked for.
static Expected<runtime::Reference> referenceFor(const mil::Function &function,
                                                 const VerifyModel &model,
                                                 runtime::VerifyOptions &options) {
  if (frontend::isExportedFile(model.against)) {
    std::vector<frontend::ParameterValue> values;
    if (!model.adapters.specs.empty()) {
      auto merged = mergedParameters(model.against, model.adapters);
      if (!merged)
        return merged.takeError();
      values = std::move(*merged);
    }
    auto evaluation = frontend::ExportedEvaluation::load(model.against, std::move(values));
    if (!evaluation)
      return evaluation.takeError();
    options.weights = (*evaluation)->tensors();
    if (options.bisect)
      options.tracer = exportedTracer(*evaluation);
    return exportedReference(std::move(*evaluation));
  }
  std::vector<mil::TensorData> sources; // a function that keeps its adapter has these
  auto module = moduleOf(model, &sources);
  if (!module) {
    // The message of `compile` about the file tells more than LibTorch's.
    if (Error failure = frontend::checkModelFile(model.against)) {
      llvm::consumeError(module.takeError());
      return failure;
    }
    return module.takeError();
  }
  auto pages = runtime::weightPagesOf(**module);
  options.weights = runtime::tensorsOf(**module, pages);
  llvm::append_range(options.weights, sources);
  if (options.bisect)
    options.tracer = [&model, &function](llvm::ArrayRef<runtime::NamedTensor> inputs)
        -> Expected<std::vector<runtime::ReferenceStep>> {
      auto anew = moduleOf(model);
      if (!anew)
        return anew.takeError();
      auto bind = binderOf(*anew, function);
      return runtime::tracerOf(std::move(*anew), model.against, plait::describeLocation,
                               std::move(bind))(inputs);
    };
  auto bind = binderOf(*module, function);
  return runtime::referenceOf(std::move(*module), model.against, std::move(bind), pages);
}

/// Gives the function its adapter, where it takes one as inputs.
static Error giveAdapter(const mil::Function &function, const VerifyModel &model,
                         runtime::VerifyOptions &options) {
  auto map = model.package.empty() ? AdapterMap() : adapterMapOf(model.package);
  if (!map)
    return map.takeError();
  auto own = map->functions.find(function.name);
  if (own == map->functions.end() || !fits(own->second, function, model.package, model.warn))
    return Error::success();
  llvm::StringSet<> given;
  for (const runtime::NamedTensor &input : options.inputs)
    given.insert(input.name);
  for (const adapters::AdapterInput &input : own->second) {
    options.ownInputs.insert(input.name);
    if (model.adapters.specs.empty() && !given.contains(input.name))
      return makeError(Code::AdapterInputs,
                       "function '{0}' takes the matrices of an adapter as inputs; give the base "
                       "and the adapter (--against BASE.pt --adapter DIR), or an array for '{1}'",
                       function.name, input.name);
  }
  if (model.adapters.specs.empty())
    return Error::success();
  if (model.adapters.specs.size() > 1 || model.adapters.specs[0].weight != 1)
    return makeError(Code::AdapterInputs,
                     "function '{0}' takes the matrices of one adapter as inputs, not of a blend",
                     function.name);
  auto packed = adapters::packAdapter(model.adapters.specs[0], own->second, readTensorFile);
  if (!packed)
    return packed.takeError();
  for (adapters::PackedInput &input : *packed)
    if (!given.contains(input.name))
      options.inputs.push_back({input.name, std::move(input.value)});
  return Error::success();
}

static Expected<runtime::VerifyReport> verifyToTheEnd(const mil::Function &function,
                                                      const VerifyModel &model,
                                                      runtime::VerifyOptions options) {
  if (Error error = checkModel({{function.name, model.against}}))
    return error;
  if (Error error = giveAdapter(function, model, options))
    return error;
  if (Error error = checkRecords(splitModelPath(model.against).file))
    return error;
  auto reference = referenceFor(function, model, options);
  if (!reference)
    return reference.takeError();
  auto report = verifyFunction(function, *reference, options);
  if (!report) {
    Error error = addContext(report.takeError(), function.name + " against " + model.against);
    std::string map = model.package.empty() ? "" : adapterMapPath(model.package);
    if (model.adapters.specs.empty() || map.empty() || llvm::sys::fs::exists(map))
      return error;
    return joinErrors(std::move(error),
                      makeError(Code::SideFile,
                                "there is no '{0}', the side file that says which inputs are an "
                                "adapter's; if '{1}' takes its matrices as inputs, put it back",
                                map, function.name));
  }
  return report;
}

Expected<runtime::VerifyReport> verify(const mil::Function &function, const VerifyModel &model,
                                       runtime::VerifyOptions options) {
  frontend::OwnRandom random(options.seed); // the model may draw some
  frontend::ProceedScope lowering(model.proceed);
  frontend::OperationStop running(model.proceed);
  std::optional<Expected<runtime::VerifyReport>> report;
  bool ended = running.guard([&] { report = verifyToTheEnd(function, model, std::move(options)); });
  if (ended && model.proceed())
    return std::move(*report);
  if (report)
    llvm::consumeError(report->takeError());
  return makeFailure(FailureKind::Cancelled, Code::Cancelled,
                     fmt::format("{0} against {1}: cancelled", function.name, model.against));
}

} // namespace plait::driver
