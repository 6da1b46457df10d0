// Finds the model's file and runs the comparison.
#include "driver/Verify.h"

#include "adapters/Pack.h"
#include "driver/AdapterMap.h"
#include "driver/libtorch/AdaptedFunctions.h"
#include "frontend/Frontend.h"
#include "frontend/archive/RecordCheck.h"
#include "frontend/script/NodeLocation.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"

namespace plait::driver {

/// The file of the model that a function was made from. With adapters it is a temporary one, which
/// `remover` removes: the base that LibTorch has merged them into.
static Expected<std::string> modelFile(const VerifyModel &model, llvm::FileRemover &remover) {
  if (model.adapters.specs.empty())
    return model.against;
  llvm::SmallString<128> path;
  if (std::error_code code = llvm::sys::fs::createTemporaryFile("plait", "pt", path))
    return makeError("cannot make a temporary file: {0}", code.message());
  remover.setFile(path);
  if (Error error = writeMerged(model.against, model.adapters, path))
    return error;
  return path.str().str();
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
      return makeError("function '{0}' takes the matrices of an adapter as inputs; give the base "
                       "and the adapter (--against BASE.pt --adapter DIR), or an array for '{1}'",
                       function.name, input.name);
  }
  if (model.adapters.specs.empty())
    return Error::success();
  if (model.adapters.specs.size() > 1 || model.adapters.specs[0].weight != 1)
    return makeError("function '{0}' takes the matrices of one adapter as inputs, not of a blend",
                     function.name);
  auto packed = adapters::packAdapter(model.adapters.specs[0], own->second, pickleReader());
  if (!packed)
    return packed.takeError();
  for (adapters::PackedInput &input : *packed)
    if (!given.contains(input.name))
      options.inputs.push_back({input.name, std::move(input.value)});
  return Error::success();
}

Expected<runtime::VerifyReport> verify(const mil::Function &function, const VerifyModel &model,
                                       runtime::VerifyOptions options) {
  if (Error error = giveAdapter(function, model, options))
    return error;
  if (Error error = checkRecords(model.against))
    return error;
  llvm::FileRemover remover;
  auto file = modelFile(model, remover);
  if (!file)
    return file.takeError();
  auto reference = runtime::loadReference(*file);
  if (!reference) {
    // The message of `compile` about the file tells more than LibTorch's.
    if (Error failure = frontend::checkModelFile(*file)) {
      llvm::consumeError(reference.takeError());
      return failure;
    }
    return reference.takeError();
  }
  if (options.bisect)
    options.tracer = [&file](llvm::ArrayRef<runtime::NamedTensor> inputs)
        -> Expected<std::vector<runtime::ReferenceStep>> {
      auto tracer = runtime::loadTracer(*file, plait::describeLocation);
      if (!tracer)
        return tracer.takeError();
      return (*tracer)(inputs);
    };
  auto report = verifyFunction(function, *reference, options);
  if (!report) {
    Error error = addContext(report.takeError(), function.name + " against " + model.against);
    std::string map = model.package.empty() ? "" : adapterMapPath(model.package);
    if (model.adapters.specs.empty() || map.empty() || llvm::sys::fs::exists(map))
      return error;
    return joinErrors(std::move(error),
                      makeError("there is no '{0}', the side file that says which inputs are an "
                                "adapter's; if '{1}' takes its matrices as inputs, put it back",
                                map, function.name));
  }
  return report;
}

} // namespace plait::driver
