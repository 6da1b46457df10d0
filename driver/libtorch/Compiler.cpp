// Lower, optimise, verify, write.
#include "driver/Compiler.h"

#include "backend/Manifest.h"
#include "backend/PackageEdit.h"
#include "backend/PackageReader.h"
#include "compress/Treatment.h"
#include "driver/Compress.h"
#include "driver/DeviceRules.h"
#include "driver/Sharing.h"
#include "driver/SideFile.h"
#include "driver/StoredWeights.h"
#include "driver/Target.h"
#include "driver/WriteSteps.h"
#include "driver/libtorch/AdaptedFunctions.h"
#include "driver/libtorch/AutoPrecision.h"
#include "driver/libtorch/Warnings.h"
#include "frontend/Proceed.h"
#include "frontend/archive/EqualRecords.h"
#include "mil/Verifier.h"
#include "passes/Opsets.h"
#include "passes/Pipeline.h"
#include "runtime/RuntimeEvaluator.h"
#include "support/Failure.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

namespace plait::driver {

using llvm::StringRef;

namespace {

/// Passes each warning on once, however often a program is compiled.
class WarningsOnce : public CompileObserver {
public:
  explicit WarningsOnce(CompileObserver &observer) : observer_(observer) {}
  void progress(const llvm::Twine &what) override { observer_.progress(what); }
  void warning(const Warning &warning) override {
    if (said_.insert(warning.text).second)
      observer_.warning(warning);
  }
  bool proceed(double done) override { return observer_.proceed(done); }
  void phase(StringRef name, StringRef of) override { observer_.phase(name, of); }
  void finishing() override { observer_.finishing(); }

private:
  CompileObserver &observer_;
  llvm::StringSet<> said_;
};

} // namespace

/// Refuses weights that do not fit fp16: a line a blob, for the first constant that it holds.
static Error checkRange(const WriteReport &written) {
  llvm::DenseSet<uint32_t> said;
  std::string text;
  for (const WriteReport::Weight &weight : written.weights) {
    const WeightLayout::Blob &blob = written.layout.blobs[weight.blob];
    if (blob.saturation.count == 0 || !said.insert(weight.blob).second)
      continue;
    std::vector<std::string> parameters = parametersOf(*weight.op->val().tensor());
    text += fmt::format(
        "{6}function {0}: weight '{1}'{2}: {3} of {4} values lie beyond the range of fp16, up to a "
        "magnitude of {5:.2f}; --precision fp32 keeps them",
        weight.function->name, weight.op->result()->name,
        parameters.empty() ? "" : " (" + llvm::join(parameters, ", ") + ")", blob.saturation.count,
        blob.numElements(), blob.saturation.largest, text.empty() ? "" : "\n");
  }
  return text.empty() ? Error::success()
                      : makeFailure(FailureKind::Unsupported, Code::BeyondHalf, std::move(text));
}

/// The share of the work that lowering is taken for; writing is the rest, and compression, where
/// there is any, most of that.
static constexpr double kLoweringShare = 0.3, kCompressingShare = 0.6;

static Error cancelled(StringRef output) {
  return makeFailure(FailureKind::Cancelled, Code::Cancelled,
                     fmt::format("{0}: cancelled; nothing is written", output));
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
      return makeError(Code::NameTaken,
                       "'{0}': there is a function '{1}' already; give the new one another name",
                       options.output, function->name);
    whole->adopt(program, function);
  }
  whole->defaultFunction = options.defaultFunction.empty() ? first : options.defaultFunction;
  if (!whole->function(whole->defaultFunction))
    return makeError(Code::DefaultFunction,
                     "'{0}': '{1}' cannot be the default function; the package holds no such one",
                     options.output, whole->defaultFunction);
  if (Error error = mil::verify(*whole))
    return addContext(std::move(error), "the package is not well-formed MIL");
  return Error::success();
}

/// `readsWeights`: values of weights beyond fp16 are looked for before anything is written.
/// `beyondHalf` is set where the writer found some all the same, which is an error.
static Expected<CompileReport> compileOnce(const CompileOptions &options, CompileObserver &observer,
                                           EqualRecords *equal, bool readsWeights,
                                           bool &beyondHalf) {
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
      return classify(opset.takeError(), FailureKind::File);
    before = *opset;
    target = std::max(*opset, mil::kDefaultOpset);
  }
  passes::PassContext context;
  runtime::RuntimeEvaluator evaluator;
  context.evaluator = &evaluator;
  context.options.precision = options.precision;
  context.options.lora = options.lora;
  context.options.share = options.share;
  context.options.joinLinears = options.joinLinears;
  StoredWeights held(options.output);
  if (options.append)
    context.options.isStored = [&](const mil::TensorData &weight) {
      return held.holds(weight, &evaluator);
    };
  context.options.readsWeights = readsWeights;
  context.options.target = target;
  context.warn = [&](const Warning &warning) { observer.warning(warning); };
  AdapterMap adapterMap;
  std::vector<std::shared_ptr<mil::RecordChecksum>> checksums;
  std::vector<compress::StoredForm> stored;

  {
    bool files = llvm::any_of(options.functions, [](const auto &f) { return !f.module; });
    frontend::Models models(equal, /*checksumMemory=*/files);
    size_t number = 0;
    auto proceed = [&] {
      return observer.proceed(kLoweringShare * double(number ? number - 1 : 0) /
                              double(options.functions.size()));
    };
    AdaptedFunctions adapted(options, models);
    frontend::ProceedScope ending(proceed);
    for (const FunctionOptions &function : options.functions) {
      if (!proceed())
        return cancelled(options.output);
      observer.progress(fmt::format("lowering {0} ({1} of {2})", function.name, ++number,
                                    options.functions.size()));
      observer.phase("read", function.name);
      auto tree = models.describe(function);
      if (!tree)
        return inFunction(tree.takeError(), function.name);
      observer.phase("lower", function.name);
      std::vector<Warning> warnings;
      mil::Program lowered;
      std::vector<adapters::AdapterInput> adapterInputs;
      Error error = function.adapters.specs.empty()
                        ? models.lower(lowered, function, loweringOptions(options), warnings)
                        : adapted.lower(lowered, function, warnings, adapterInputs);
      for (const Warning &warning : warnings)
        observer.warning({warning.code, options.multifunction ? function.name + ": " + warning.text
                                                              : warning.text});
      if (error)
        return inFunction(std::move(error), function.name);
      for (compress::StoredForm &form : compress::storedForms(**tree))
        if (llvm::none_of(stored, [&](const auto &known) { return known.path == form.path; }))
          stored.push_back(std::move(form));
      passes::removeRedundancy(lowered, context);
      warnOfConstantResults(*lowered.function(function.name), observer);
      program.adopt(lowered, lowered.function(function.name));
      if (!adapterInputs.empty())
        adapterMap.functions[function.name] = std::move(adapterInputs);
      if (function.lora)
        context.options.loraOf[function.name] = *function.lora;
    }
    checksums = models.checksums();
  }

  // Compression looks at weights by themselves.
  if (!options.compress.empty() || !stored.empty())
    context.options.treatmentOf = [&](const mil::Op &layer) {
      return compress::treatmentOf(layer, options.compress, stored);
    };
  warnOfFrozenStates(program, options, observer);
  observer.progress("optimising");
  observer.phase("passes", "");
  auto precision = MixedPrecision::create(options, observer);
  if (!precision)
    return precision.takeError();
  passes::PipelineHooks hooks = options.hooks;
  hooks.proceed = [&] { return observer.proceed(kLoweringShare); };
  if (options.precision == passes::Precision::F16)
    hooks.beforeHalf = [&](const mil::Program &lowered, passes::PassContext &passContext) {
      return (*precision)->decide(lowered, passContext);
    };
  if (Error error = passes::runPipeline(program, context, hooks))
    return error;
  if (Error error = (*precision)->checkPatterns())
    return error;
  // Each of these looks at every operation.
  if (!observer.proceed(kLoweringShare))
    return cancelled(options.output);
  if (Error error = mil::verify(program))
    return addContext(std::move(error), "the compiled program is not well-formed, which is a "
                                        "mistake of plait; please report it");
  if (!observer.proceed(kLoweringShare))
    return cancelled(options.output);
  if (Error error = passes::checkOpset(program, target))
    return addContext(classify(std::move(error), FailureKind::Unsupported),
                      fmt::format("the model cannot be written for {0} ({1}); without --target, "
                                  "which is {2}, it can",
                                  mil::name(target), mil::info(target).systems,
                                  mil::name(mil::kDefaultOpset)));
  std::optional<compress::ProgramResult> compressed;
  std::vector<FunctionSnr> outputs;
  bool compresses = !options.compress.empty() || options.goal.chooses();
  double writingFrom = kLoweringShare;
  if (!stored.empty() && !compresses && target < mil::Opset::iOS18) {
    observer.warning(
        {Code::OpsetMismatch,
         fmt::format("{0} weights ({1}, ...) were compressed before the model was saved, "
                     "and {2} has no form for that; they are stored as they are",
                     stored.size(), stored.front().path, mil::name(target))});
    stored.clear();
  }
  if (compresses || !stored.empty()) {
    observer.progress("compressing");
    observer.phase("compress", "");
    // The comparison of the files takes a processor.
    if (equal)
      equal->stop();
    std::set<std::string> adapted;
    for (const FunctionOptions &function : options.functions)
      if (!function.adapters.specs.empty())
        adapted.insert(function.name);
    CompressionRequest request{options.compress, options.requireCoverage, options.threads,
                               &evaluator,       options.output,          std::move(adapted)};
    request.proceed = [&](double done) {
      return observer.proceed(kLoweringShare + kCompressingShare * done);
    };
    request.goal = options.goal;
    request.stored = stored;
    request.warn = context.warn;
    auto result = compressWeights(program, request, &outputs);
    if (!result)
      return result.takeError();
    compressed = std::move(*result);
    writingFrom += kCompressingShare;
    if (Error error = mil::verify(program))
      return addContext(std::move(error), "the compressed program is not well-formed, which is a "
                                          "mistake of plait; please report it");
  }
  if (!observer.proceed(writingFrom))
    return cancelled(options.output);
  if (Error error = checkDeviceRules(program, options.output, options.allow,
                                     [&](const Warning &warning) { observer.warning(warning); }))
    return classify(std::move(error), FailureKind::Unsupported);

  // Early, and again when it is written.
  if (!adapterMap.functions.empty())
    if (Error error = checkAdapterMap(options.output))
      return error;
  if (!observer.proceed(writingFrom))
    return cancelled(options.output);
  observer.progress((options.dryRun ? "measuring " : "writing ") + options.output);
  observer.phase("share", "");
  // The writer compares what is left, on all threads.
  if (equal)
    equal->stop();
  WriteProgress proceed = writeSteps(
      [&](double done) { return observer.proceed(writingFrom + (1 - writingFrom) * done); },
      [&](StringRef name) { observer.phase(name, ""); });
  std::vector<std::string> names;
  for (const auto &function : program.functions())
    names.push_back(function->name);
  std::unique_ptr<mil::Program> whole; // that of a package that is written anew
  auto accept = [&](const WriteReport &written) -> Error {
    if (Error error = checkRange(written)) {
      beyondHalf = true;
      return error;
    }
    if (Error error = mil::RecordChecksum::checkAll(checksums, options.threads))
      return error;
    if (Error error = warnOfWeights(whole ? *whole : program, written, &evaluator, observer))
      return error;
    observer.finishing();
    if (!observer.proceed(1))
      return cancelled(options.output);
    return options.expectShared
               ? classify(checkShares(written, *options.expectShared, names), FailureKind::Option)
               : Error::success();
  };
  SideFile sideFile(options.output, std::move(adapterMap),
                    options.append ? SideFile::Former::Kept : SideFile::Former::Dropped, names,
                    [&](const Warning &warning) { observer.warning(warning); });
  WriteReport written;
  std::optional<FolderLock> lock; // from reading until writing
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
    edit.dryRun = options.dryRun;
    if (Error error = addFunctions(program, options.output, edit, &written))
      return classify(std::move(error), FailureKind::File);
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
    BudgetGuard guard(sideFile, options.goal.sizeBudget, written);
    write.companion = &guard;
    write.dryRun = options.dryRun;
    if (Error error = writePackage(whole ? *whole : program, options.output, write, &written))
      return classify(std::move(error), FailureKind::File);
    if (options.dryRun)
      if (Error error = guard.check())
        return error;
  }
  CompileReport report = summarise(whole ? *whole : program, written);
  report.compressed = std::move(compressed);
  report.outputs = std::move(outputs);
  report.precision = (*precision)->takeReport();
  llvm::erase_if(report.functions, [&](const CompileReport::Function &function) {
    return !llvm::is_contained(names, function.name);
  });
  return report;
}

Expected<CompileReport> compile(const CompileOptions &options, CompileObserver &observer,
                                EqualRecords *equal) {
  if (Error error = check(options))
    return error;
  WarningsOnce once(observer);
  for (const Warning &note : options.notes)
    once.warning(note);
  bool beyondHalf = false;
  auto report = compileOnce(options, once, equal, /*readsWeights=*/false, beyondHalf);
  if (report || !beyondHalf)
    return report;
  // What is beyond fp16 is computed in fp32. Which weights these are is only known by reading all
  // of them, and hardly any model has some.
  llvm::consumeError(report.takeError());
  return compileOnce(options, once, nullptr, /*readsWeights=*/true, beyondHalf);
}

} // namespace plait::driver
