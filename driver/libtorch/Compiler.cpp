// Lower, optimise, verify, write.
#include "driver/Compiler.h"

#include "backend/Manifest.h"
#include "backend/PackageEdit.h"
#include "backend/PackageReader.h"
#include "driver/DeviceRules.h"
#include "driver/Sharing.h"
#include "driver/SideFile.h"
#include "driver/Target.h"
#include "driver/libtorch/AdaptedFunctions.h"
#include "driver/libtorch/AutoPrecision.h"
#include "frontend/archive/EqualRecords.h"
#include "mil/Verifier.h"
#include "passes/Opsets.h"
#include "passes/Pipeline.h"
#include "runtime/RuntimeEvaluator.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <map>
#include <set>

namespace plait::driver {

using llvm::StringRef;

/// Says which weights do not fit fp16: one warning a blob, for the first constant that it holds.
static void warnOfSaturation(const WriteReport &written, CompileObserver &observer) {
  llvm::DenseSet<uint32_t> said;
  for (const WriteReport::Weight &weight : written.weights) {
    const WeightLayout::Blob &blob = written.layout.blobs[weight.blob];
    if (blob.saturation.count == 0 || !said.insert(weight.blob).second)
      continue;
    std::vector<std::string> parameters = parametersOf(*weight.op->val().tensor());
    observer.warning(fmt::format(
        "function {0}: weight '{1}'{2}: {3} of {4} values lie beyond the range of fp16, up to a "
        "magnitude of {5:.2f}: written as 65504; --precision fp32 keeps them",
        weight.function->name, weight.op->result()->name,
        parameters.empty() ? "" : " (" + llvm::join(parameters, ", ") + ")", blob.saturation.count,
        blob.numElements(), blob.saturation.largest));
  }
}

/// A function that only reads what another one keeps as a state reads what the model holds, for
/// ever.
static void warnOfFrozenStates(const mil::Program &program, const CompileOptions &options,
                               CompileObserver &observer) {
  std::map<std::string, std::string> keptBy; // by the state's name
  for (const auto &function : program.functions())
    for (const auto &input : function->inputs())
      if (input->type.isState())
        keptBy.emplace(input->name.str(), function->name);
  if (keptBy.empty())
    return;
  for (const FunctionOptions &declared : options.functions) {
    const mil::Function *function = program.function(declared.name);
    if (!function || declared.states.others == frontend::StatesRequest::Others::Forget)
      continue;
    std::set<std::string> said;
    for (const auto &input : function->inputs())
      said.insert(input->name.str());
    mil::walk(const_cast<mil::Block &>(function->body()), [&](mil::Op &op) {
      const mil::TensorData *tensor = mil::constTensor(op.numResults() ? op.result() : nullptr);
      if (!tensor)
        return;
      for (const std::string &path : parametersOf(*tensor)) {
        std::string name = mil::legalName(path);
        auto kept = keptBy.find(name);
        if (kept == keptBy.end() || !said.insert(name).second)
          continue;
        observer.warning(fmt::format(
            "function {0} reads '{1}' as the model holds it, and function {2} keeps it as a state; "
            "--states '{1}=fp16' gives {0} the state too, --states none says that it is meant",
            declared.name, path, kept->second));
      }
    });
  }
}

/// The share of the work that lowering is taken for; writing is the rest.
static constexpr double kLoweringShare = 0.3;

static Error cancelled(StringRef output) {
  return makeError("{0}: cancelled; nothing is written", output);
}

/// The package that is added to, of an opset that knows no named functions, brought to `target`,
/// with the functions of `program` behind its own: it is written anew.
static Error joinOlder(const CompileOptions &options, mil::Opset target, mil::Program &program,
                       std::unique_ptr<mil::Program> &whole) {
  auto package = readPackage(options.output);
  if (!package)
    return package.takeError();
  whole = std::move(*package);
  if (Error error = bringTo(*whole, target))
    return addContext(std::move(error),
                      fmt::format("{0} is of an opset older than {1}, which named functions need",
                                  options.output, mil::name(target)));
  std::string first = whole->functions()[0]->name;
  std::vector<mil::Function *> added;
  for (const auto &function : program.functions())
    added.push_back(function.get());
  for (mil::Function *function : added) {
    if (whole->function(function->name))
      return makeError("'{0}': there is a function '{1}' already; give the new one another name",
                       options.output, function->name);
    whole->adopt(program, function);
  }
  whole->defaultFunction = options.defaultFunction.empty() ? first : options.defaultFunction;
  if (!whole->function(whole->defaultFunction))
    return makeError("'{0}': '{1}' cannot be the default function; the package holds no such one",
                     options.output, whole->defaultFunction);
  if (Error error = mil::verify(*whole))
    return addContext(std::move(error), "the package is not well-formed MIL");
  return Error::success();
}

Expected<CompileReport> compile(const CompileOptions &options, CompileObserver &observer,
                                EqualRecords *equal) {
  if (Error error = check(options))
    return error;
  mil::Program program;
  program.metadata = options.metadata;
  // That of a package that is added to is the package's own affair.
  if (options.multifunction)
    program.defaultFunction = options.defaultFunction.empty() || options.append
                                  ? options.functions[0].name
                                  : options.defaultFunction;
  mil::Opset target = options.target;
  std::optional<mil::Opset> before; // of the package that is added to
  if (options.append) {
    auto opset = packageOpset(options.output);
    if (!opset)
      return opset.takeError();
    before = *opset;
    target = std::max(*opset, mil::kDefaultOpset);
  }
  passes::PassContext context;
  runtime::RuntimeEvaluator evaluator;
  context.evaluator = &evaluator;
  context.options.precision = options.precision;
  context.options.lora = options.lora;
  context.options.share = options.share;
  context.options.target = target;
  context.warn = [&](StringRef message) { observer.warning(message); };
  AdapterMap adapterMap;
  std::vector<std::shared_ptr<mil::RecordChecksum>> checksums;

  {
    bool files = llvm::any_of(options.functions, [](const auto &f) { return !f.module; });
    frontend::Models models(equal, /*checksumMemory=*/files);
    AdaptedFunctions adapted(options, models);
    size_t number = 0;
    for (const FunctionOptions &function : options.functions) {
      if (!observer.proceed(kLoweringShare * number / options.functions.size()))
        return cancelled(options.output);
      observer.progress(fmt::format("lowering {0} ({1} of {2})", function.name, ++number,
                                    options.functions.size()));
      std::vector<std::string> warnings;
      mil::Program lowered;
      std::vector<adapters::AdapterInput> adapterInputs;
      Error error = function.adapters.specs.empty()
                        ? models.lower(lowered, function, loweringOptions(options), warnings)
                        : adapted.lower(lowered, function, warnings, adapterInputs);
      for (const std::string &warning : warnings)
        observer.warning(options.multifunction ? function.name + ": " + warning : warning);
      if (error)
        return error;
      passes::removeRedundancy(lowered, context);
      program.adopt(lowered, lowered.function(function.name));
      if (!adapterInputs.empty())
        adapterMap.functions[function.name] = std::move(adapterInputs);
      if (function.lora)
        context.options.loraOf[function.name] = *function.lora;
    }
    checksums = models.checksums();
  }

  warnOfFrozenStates(program, options, observer);
  observer.progress("optimising");
  auto precision = MixedPrecision::create(options, observer);
  if (!precision)
    return precision.takeError();
  passes::PipelineHooks hooks = options.hooks;
  if (options.precision == passes::Precision::F16)
    hooks.beforeHalf = [&](const mil::Program &lowered, passes::PassContext &passContext) {
      return (*precision)->decide(lowered, passContext);
    };
  if (Error error = passes::runPipeline(program, context, hooks))
    return error;
  if (Error error = (*precision)->checkPatterns())
    return error;
  if (Error error = mil::verify(program))
    return addContext(std::move(error), "the compiled program is not well-formed, which is a "
                                        "mistake of plait; please report it");
  if (Error error = passes::checkOpset(program, target))
    return addContext(std::move(error),
                      fmt::format("the model cannot be written for {0} ({1}); without --target, "
                                  "which is {2}, it can",
                                  mil::name(target), mil::info(target).systems,
                                  mil::name(mil::kDefaultOpset)));
  if (Error error = checkDeviceRules(program, options.output, options.allow,
                                     [&](StringRef message) { observer.warning(message); }))
    return error;

  // Early, and again when it is written.
  if (!adapterMap.functions.empty())
    if (Error error = checkAdapterMap(options.output))
      return error;
  if (!observer.proceed(kLoweringShare))
    return cancelled(options.output);
  observer.progress("writing " + options.output);
  // The writer compares what is left, on all threads.
  if (equal)
    equal->stop();
  auto proceed = [&](uint64_t done, uint64_t total) {
    return observer.proceed(kLoweringShare + (1 - kLoweringShare) * double(done) / double(total));
  };
  std::vector<std::string> names;
  for (const auto &function : program.functions())
    names.push_back(function->name);
  auto accept = [&](const WriteReport &written) {
    if (Error error = mil::RecordChecksum::checkAll(checksums, options.threads))
      return error;
    return options.expectShared ? checkShares(written, *options.expectShared, names)
                                : Error::success();
  };
  SideFile sideFile(options.output, std::move(adapterMap),
                    options.append ? SideFile::Former::Kept : SideFile::Former::Dropped, names,
                    [&](StringRef message) { observer.warning(message); });
  WriteReport written;
  std::optional<FolderLock> lock; // from reading until writing
  std::unique_ptr<mil::Program> whole;
  if (before && *before < target) {
    auto taken = FolderLock::take(options.output);
    if (!taken)
      return taken.takeError();
    lock.emplace(std::move(*taken));
    if (Error error = joinOlder(options, target, program, whole))
      return error;
  }
  if (options.append && !whole) {
    EditOptions edit;
    edit.threads = options.threads;
    edit.evaluator = &evaluator;
    edit.defaultFunction = options.defaultFunction;
    edit.debugInfo = options.debugInfo;
    edit.accept = accept;
    edit.proceed = proceed;
    edit.companion = &sideFile;
    if (Error error = addFunctions(program, options.output, edit, &written))
      return error;
  } else {
    WriteOptions write;
    write.share = options.share || whole;
    write.keepOtherItems = whole != nullptr;
    write.debugInfo = options.debugInfo;
    write.threads = options.threads;
    write.evaluator = &evaluator;
    write.accept = accept;
    write.proceed = proceed;
    write.lock = lock ? &*lock : nullptr;
    write.companion = &sideFile;
    if (Error error = writePackage(whole ? *whole : program, options.output, write, &written))
      return error;
  }
  warnOfSaturation(written, observer);
  observer.proceed(1);
  CompileReport report = summarise(whole ? *whole : program, written);
  report.precision = (*precision)->takeReport();
  llvm::erase_if(report.functions, [&](const CompileReport::Function &function) {
    return !llvm::is_contained(names, function.name);
  });
  return report;
}

} // namespace plait::driver
