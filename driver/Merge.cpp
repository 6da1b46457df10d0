// Reads the packages, moves their functions into one program and writes it.
#include "driver/Merge.h"

#include "backend/DebugInfo.h"
#include "backend/PackageReader.h"
#include "backend/PackageWriter.h"
#include "driver/DeviceRules.h"
#include "driver/HeldOutput.h"
#include "driver/LibTorch.h"
#include "driver/PackageFunctions.h"
#include "driver/Sharing.h"
#include "driver/SideFile.h"
#include "driver/Target.h"
#include "driver/WriteSteps.h"
#include "mil/Verifier.h"

#include "llvm/Support/FileSystem.h"

namespace plait::driver {

/// Moves what `source` names into `program`.
static Error take(const MergeSource &source, mil::Program &program, AdapterMap &adapterMap,
                  Warn warn) {
  auto package = readPackage(source.package);
  if (!package)
    return package.takeError();
  auto sideFile = adapterMapOf(source.package);
  if (!sideFile)
    return sideFile.takeError();
  std::vector<mil::Function *> chosen;
  if (source.function.empty() && source.name.empty()) {
    for (const auto &function : (*package)->functions())
      chosen.push_back(function.get());
  } else {
    std::optional<std::string> name;
    if (!source.function.empty())
      name = source.function;
    auto function = findFunction(**package, source.package, name);
    if (!function)
      return function.takeError();
    chosen.push_back(*function);
  }
  for (mil::Function *function : chosen) {
    std::string name = source.name.empty() ? function->name : source.name;
    if (program.function(name))
      return makeError(Code::NameTaken,
                       "{0}: two functions are called '{1}'; give one another name: "
                       "OTHER={0}:{2}",
                       source.package, name, function->name);
    // What the side file of its package says of it, under its new name.
    if (auto entry = sideFile->functions.find(function->name);
        entry != sideFile->functions.end() && fits(entry->second, *function, source.package, warn))
      adapterMap.functions[name] = entry->second;
    mil::Program one;
    function = one.adopt(**package, function);
    mil::Opset own = function->opset, target = std::max(own, mil::kDefaultOpset);
    if (Error error = bringTo(one, target))
      return addContext(std::move(error),
                        fmt::format("{0} is of {1}, and packages of several functions are of "
                                    "{2} or later",
                                    source.package, mil::name(own), mil::name(target)));
    function->name = name;
    program.adopt(one, function);
  }
  // A package's attributes tell how it was built, which is not how the merged one is.
  return Error::success();
}

Expected<CompileReport> merge(const MergeOptions &options) {
  if (options.sources.empty())
    return makeError(Code::OptionMissing, "{0}: there is no package to merge", options.output);
  for (const MergeSource &source : options.sources)
    if (!source.name.empty() && !mil::isLegalName(source.name))
      return makeError(Code::IllegalName, "'{0}' cannot name a function: {1}", source.name,
                       mil::whyIllegal(source.name));
  if (Error error = checkRuleNames(options.allow))
    return error;
  auto lock = holdOutput(options.output);
  if (!lock)
    return lock.takeError();
  mil::Program program;
  AdapterMap adapterMap;
  options.phase("read");
  for (const MergeSource &source : options.sources)
    if (Error error = take(source, program, adapterMap, options.warn))
      return error;
  // One of a newer opset takes the others with it.
  mil::Opset newest = mil::kDefaultOpset;
  for (const auto &function : program.functions())
    newest = std::max(newest, function->opset);
  if (Error error = bringTo(program, newest))
    return error;
  program.defaultFunction =
      options.defaultFunction.empty() ? program.functions()[0]->name : options.defaultFunction;
  if (!program.function(program.defaultFunction))
    return findFunction(program, options.output, program.defaultFunction).takeError();
  program.metadata = options.metadata;
  if (Error error = mil::verify(program))
    return addContext(std::move(error), "a function is not well-formed MIL, so that Core ML would "
                                        "refuse the package that it is from too");
  if (Error error = checkDeviceRules(program, options.output, options.allow, options.warn))
    return error;
  if (!adapterMap.functions.empty())
    if (Error error = checkAdapterMap(options.output))
      return error;
  LazyEvaluator evaluator;
  WriteOptions write;
  write.share = options.share;
  write.threads = options.threads;
  write.dryRun = options.dryRun;
  write.proceed = writeSteps(options.proceed, options.phase);
  write.evaluator = &evaluator;
  write.debugInfo = hasDebugInfo(program);
  write.accept = [&](const WriteReport &report) {
    return options.expectShared ? checkShares(report, *options.expectShared) : Error::success();
  };
  SideFile sideFile(options.output, std::move(adapterMap), SideFile::Former::Dropped, {},
                    options.warn);
  write.lock = *lock ? &**lock : nullptr;
  write.companion = &sideFile;
  WriteReport written;
  options.phase("share");
  if (Error error = writePackage(program, options.output, write, &written))
    return error;
  return summarise(program, written);
}

} // namespace plait::driver
