// The public compiler: collects functions, then lets the driver do what the command does.
#include "api/Impl.h"

#include "driver/AdapterMap.h"
#include "driver/AdapterSyntax.h"
#include "driver/ClassLabels.h"
#include "driver/InputDeclarations.h"
#include "driver/Recipe.h"
#include "driver/StateSyntax.h"
#include "driver/libtorch/AdaptedFunctions.h"
#include "frontend/Proceed.h"
#include "passes/Pass.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"

#include <cmath>

namespace plait::inline v0 {

static mil::LoraMode toMode(Lora lora) {
  switch (lora) {
  case Lora::keep:
    return mil::LoraMode::Keep;
  case Lora::fold:
    return mil::LoraMode::Fold;
  case Lora::inputs:
    return mil::LoraMode::Inputs;
  }
  refuse(Code::OptionValue, "the lora of PackageOptions or FunctionOptions is none of Lora's",
         Exception::Reason::Option);
}

static Lora fromMode(mil::LoraMode mode) {
  return mode == mil::LoraMode::Inputs ? Lora::inputs
         : mode == mil::LoraMode::Fold ? Lora::fold
                                       : Lora::keep;
}

std::optional<adapters::GivenScale> givenScale(std::optional<double> alpha,
                                               std::optional<double> scale) {
  if (alpha && scale)
    refuse(Code::OptionConflict, "loraAlpha and loraScale say the same: one of them is wanted",
           Exception::Reason::Option);
  double value = alpha ? *alpha : scale.value_or(1);
  if (!std::isfinite(value))
    refuse(Code::OptionValue, "the scale of an adapter is a finite number",
           Exception::Reason::Option);
  return alpha || scale ? std::optional(adapters::GivenScale{alpha.has_value(), value})
                        : std::nullopt;
}

Added makeFunction(const std::string &name, const FunctionOptions &options, bool examples) {
  constexpr FailureKind option = FailureKind::Option;
  Added added;
  driver::FunctionOptions &function = added.function;
  function.name = name;
  for (const std::string &text : options.input) {
    driver::InputSyntax syntax{.mayLeaveOutShape = examples, .notes = &added.warnings};
    if (llvm::Error error = driver::addDeclaration(function, text, syntax))
      raise(std::move(error), option);
  }
  if (llvm::Error error = driver::resolveSizes(function.inputs))
    raise(std::move(error), option);
  for (const std::string &text : options.output)
    function.outputs.push_back(valueOrRaise(driver::parseOutput(text), option));
  function.descriptions = options.describe;
  if (!options.classes.empty())
    function.classes = valueOrRaise(driver::parseClasses(options.classes), FailureKind::File);
  if (!options.classOutput.empty() && !function.classes)
    refuse(Code::OptionValue,
           "classOutput is '" + options.classOutput + "', and there are no classes",
           Exception::Reason::Option);
  if (function.classes)
    function.classes->scores = options.classOutput;
  for (const std::string &text : options.states)
    if (llvm::Error error = driver::addStates(function.states, text))
      raise(std::move(error), option);
  function.states.inputs = options.stateInputs;
  function.method = options.method;
  if (!options.adapter.empty())
    function.adapters.specs = valueOrRaise(driver::parseAdapters(options.adapter), option);
  checkAdapterOptions(options);
  driver::setScale(function.adapters.specs, givenScale(options.loraAlpha, options.loraScale));
  function.adapters.root = options.adapterRoot;
  function.adapters.allowUnmatched = options.allowUnmatched;
  if (options.lora)
    function.lora = toMode(*options.lora);
  if (llvm::Error error = driver::checkLora(function))
    raise(std::move(error), option);
  return added;
}

mil::Metadata toMetadata(const std::string &author, const std::string &license,
                         const std::string &version, const std::string &description,
                         const std::map<std::string, std::string> &meta) {
  mil::Metadata metadata;
  metadata.author = author;
  metadata.license = license;
  metadata.version = version;
  metadata.description = description;
  for (const auto &[key, value] : meta)
    metadata.userDefined[key] = value;
  return metadata;
}

mil::Opset toOpset(Target target) {
  switch (target) {
  case Target::ios16:
    return mil::Opset::iOS16;
  case Target::ios17:
    return mil::Opset::iOS17;
  case Target::ios18:
    return mil::Opset::iOS18;
  case Target::ios26:
    return mil::Opset::iOS26;
  }
  refuse(Code::OptionValue, "PackageOptions::target is none of Target's",
         Exception::Reason::Option);
}

Target fromOpset(mil::Opset opset) {
  for (Target target : {Target::ios16, Target::ios17, Target::ios26})
    if (toOpset(target) == opset)
      return target;
  return Target::ios18;
}

void setWarnings(Report &report, llvm::ArrayRef<Warning> warnings) {
  for (const Warning &warning : warnings) {
    report.warnings.push_back(warning.text);
    report.warningCodes.push_back(plait::name(warning.code));
  }
}

Report toReport(const driver::CompileReport &report) {
  Report result;
  for (const driver::CompileReport::Function &function : report.functions)
    result.functions.push_back({function.name, function.operations, function.ownBytes,
                                function.sharedBytes, function.states});
  result.weightFileBytes = report.weightFileBytes;
  result.packageBytes = report.packageBytes;
  return result;
}

void checkPackageName(const std::string &path) {
  if (!llvm::StringRef(path).rtrim('/').ends_with(".mlpackage"))
    refuse(Code::PackageName, path + ": the name of a package ends in .mlpackage",
           Exception::Reason::Option);
}

std::optional<double> checkedShare(std::optional<double> percent) {
  if (percent && !(*percent >= 0 && *percent <= 100))
    refuse(Code::OptionValue, "expectShared is a percentage, from 0 to 100",
           Exception::Reason::Option);
  return percent;
}

llvm::Error Compiler::Impl::checkAgainstModel(const driver::FunctionOptions &declared) {
  // What was cancelled before is the next write().
  const bool before = cancelled;
  frontend::ProceedScope ending([&] { return before || !cancelled; });
  if (!checker)
    checker = std::make_unique<frontend::FunctionChecker>();
  if (llvm::Error error = checker->check(declared)) {
    Failure failure = takeFailure(std::move(error));
    if (failure.kind == FailureKind::Cancelled)
      cancelled = false;
    return makeFailure(std::move(failure));
  }
  if (declared.adapters.specs.empty())
    return llvm::Error::success();
  frontend::Models memory; // knows a module by its place, which another one may have later
  return driver::checkAdapters(declared.module ? memory : checker->models(), declared);
}

void Compiler::Impl::add(Added function) {
  const driver::FunctionOptions &declared = function.function;
  if (llvm::Error error = driver::checkFunction(declared))
    raise(std::move(error), FailureKind::Option);
  for (const Added &other : added)
    if (other.function.name == declared.name)
      refuse(Code::NameTaken,
             "two functions are called '" + declared.name + "'; give each a name of its own",
             Exception::Reason::Option);
  if (llvm::Error error = driver::checkModel(declared))
    raise(std::move(error));
  if (llvm::Error error = checkAgainstModel(declared))
    raise(std::move(error));
  for (Warning &warning : function.warnings) {
    warning.text =
        forPrograms(options.multifunction ? declared.name + ": " + warning.text : warning.text);
    if (log)
      log(Severity::warning, warning.text);
  }
  added.push_back(std::move(function));
}

void Compiler::removeFunction(const std::string &name) {
  std::vector<Added> &added = impl().added;
  auto found = llvm::find_if(added, [&](const Added &one) { return one.function.name == name; });
  if (found == added.end())
    refuse(Code::NoSuchFunction, "there is no function '" + name + "' to take out",
           Exception::Reason::Option);
  added.erase(found);
}

std::vector<std::string> Compiler::functions() const {
  std::vector<std::string> names;
  for (const Added &one : impl().added)
    names.push_back(one.function.name);
  return names;
}

Compiler::Impl &Compiler::impl() const {
  if (!impl_)
    refuseMoved("Compiler");
  return *impl_;
}

Compiler::Compiler(PackageOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
}
Compiler::Compiler(Compiler &&) noexcept = default;
Compiler &Compiler::operator=(Compiler &&) noexcept = default;
Compiler::~Compiler() = default;

Compiler Compiler::fromRecipe(const std::string &path) {
  driver::CompileOptions recipe = valueOrRaise(driver::readRecipe(path), FailureKind::File);
  if (!recipe.compress.empty() || recipe.goal.chooses() || recipe.autoPrecision)
    refuse(Code::OptionConflict,
           path + ": compression and precision auto are the command's; give the recipe to "
                  "`plait compile`",
           Exception::Reason::Option);
  Compiler compiler;
  PackageOptions &options = compiler.options();
  options.defaultFunction = recipe.defaultFunction;
  options.precision =
      recipe.precision == passes::Precision::F16 ? Precision::fp16 : Precision::fp32;
  options.target = fromOpset(recipe.target);
  options.lora = fromMode(recipe.lora);
  options.share = recipe.share;
  options.joinLinears = recipe.joinLinears;
  options.debugInfo = recipe.debugInfo;
  options.expectShared = recipe.expectShared;
  options.allow = recipe.allow;
  options.keepFp32 = recipe.keepFloat32;
  options.threads = recipe.threads;
  options.multifunction = recipe.multifunction;
  options.author = recipe.metadata.author;
  options.license = recipe.metadata.license;
  options.versionString = recipe.metadata.version;
  options.description = recipe.metadata.description;
  for (const auto &[key, value] : recipe.metadata.userDefined)
    options.meta[key] = value;
  for (driver::FunctionOptions &function : recipe.functions)
    compiler.impl_->add({std::move(function), std::exchange(recipe.notes, {}), nullptr});
  return compiler;
}

void Compiler::addFile(const std::string &name, const std::string &path, FunctionOptions options) {
  refuseWhileTracing();
  Added function = makeFunction(name, options);
  function.function.model = path;
  impl().add(std::move(function));
}

PackageOptions &Compiler::options() { return impl().options; }
const PackageOptions &Compiler::options() const { return impl().options; }
void Compiler::cancel() noexcept {
  if (impl_)
    impl_->cancelled = true;
}
void Compiler::onProgress(std::function<void(const Progress &)> callback) {
  impl().progress = std::move(callback);
}
void Compiler::onLog(std::function<void(Severity, std::string_view)> sink) {
  impl().log = std::move(sink);
}

namespace {

/// Hands on what the driver tells. An exception of a callback ends the export and is thrown again
/// when the driver has cleaned up.
class Observer final : public driver::CompileObserver {
public:
  Observer(const Compiler::Impl &impl, const std::function<bool()> &stopped,
           std::vector<Warning> &warnings)
      : progressTo_(impl.progress), logTo_(impl.log), cancelled_(impl.cancelled), stopped_(stopped),
        warnings_(warnings) {}

  void progress(const llvm::Twine &what) override {
    std::scoped_lock lock(mutex_);
    progress_.what = forPrograms(what.str());
    log(Severity::info, progress_.what);
    tell();
  }
  void warning(const Warning &warning) override {
    std::scoped_lock lock(mutex_);
    warnings_.push_back({warning.code, forPrograms(warning.text)});
    log(Severity::warning, warnings_.back().text);
  }
  void finishing() override { finishing_(); }
  bool proceed(double done) override {
    std::scoped_lock lock(mutex_);
    if (done > progress_.done) {
      progress_.done = done;
      tell();
    }
    if (cancelled_ || (stopped_ && stopped_()))
      wasCancelled_ = true;
    return !wasCancelled_ && !thrown_;
  }
  /// Asks `call` when all weights were read.
  void onFinishing(std::function<void()> call) { finishing_ = std::move(call); }
  std::exception_ptr thrown() const { return thrown_; }
  bool wasCancelled() const { return wasCancelled_; }

private:
  void tell() {
    guarded([&] {
      if (progressTo_)
        progressTo_(progress_);
    });
  }
  void log(Severity severity, const std::string &message) {
    guarded([&] {
      if (logTo_)
        logTo_(severity, message);
    });
  }
  void guarded(llvm::function_ref<void()> call) {
    if (thrown_)
      return;
    try {
      call();
    } catch (...) {
      thrown_ = std::current_exception();
    }
  }

  // Copies: what is set meanwhile is for the next export.
  std::function<void(const Progress &)> progressTo_;
  std::function<void(Severity, std::string_view)> logTo_;
  const std::atomic<bool> &cancelled_;
  const std::function<bool()> &stopped_;
  std::vector<Warning> &warnings_;
  std::function<void()> finishing_ = [] {};
  std::mutex mutex_;
  Progress progress_;
  std::exception_ptr thrown_;
  bool wasCancelled_ = false;
};

} // namespace

static passes::Precision precisionFor(const PackageOptions &options, const std::string &path,
                                      bool append) {
  if (!options.precision)
    return append ? valueOrRaise(driver::precisionOf(path), FailureKind::File)
                  : passes::Precision::F16;
  switch (*options.precision) {
  case Precision::fp16:
    return passes::Precision::F16;
  case Precision::fp32:
    return passes::Precision::F32;
  }
  refuse(Code::OptionValue, "PackageOptions::precision is none of Precision's",
         Exception::Reason::Option);
}

/// Weights in memory that were written to since they were added, or since they were asked for last.
static void warnOfChanges(const std::vector<Added> &added, driver::CompileObserver &observer,
                          const char *when) {
  for (const Added &one : added) {
    if (!one.changed)
      continue;
    std::vector<std::string> names = one.changed();
    if (names.empty())
      continue;
    constexpr size_t most = 3;
    std::string list = llvm::join(llvm::ArrayRef(names).take_front(most), "', '");
    observer.warning(
        {Code::ModuleChanged,
         fmt::format("{0}: weight{1} '{2}'{3} {4} written to {5}", one.function.name,
                     names.size() == 1 ? "" : "s", list,
                     names.size() > most ? fmt::format(" and {0} more", names.size() - most) : "",
                     names.size() == 1 ? "was" : "were", when)});
  }
}

Report Compiler::Impl::write(const std::string &path, bool append,
                             const std::function<bool()> &stopped) {
  refuseWhileTracing();
  if (writing.exchange(true))
    refuse(Code::LibraryMisuse,
           path + ": this Compiler is writing a package already; a callback, or another thread, "
                  "takes a Compiler of its own",
           Exception::Reason::Input);
  auto done = llvm::make_scope_exit([this] { writing = false; });
  checkPackageName(path);
  driver::CompileOptions compile;
  compile.output = path;
  compile.append = append;
  std::vector<Warning> warnings;
  for (const Added &one : added) {
    compile.functions.push_back(one.function);
    llvm::append_range(warnings, one.warnings);
  }
  compile.multifunction = options.multifunction || append;
  compile.defaultFunction = options.defaultFunction;
  compile.precision = precisionFor(options, path, append);
  compile.target = toOpset(options.target);
  compile.lora = toMode(options.lora);
  compile.share = options.share;
  compile.joinLinears = options.joinLinears;
  compile.debugInfo = options.debugInfo;
  compile.expectShared = checkedShare(options.expectShared);
  compile.allow = options.allow;
  compile.keepFloat32 = options.keepFp32;
  compile.threads = options.threads;
  compile.metadata = toMetadata(options.author, options.license, options.versionString,
                                options.description, options.meta);
  if (!compile.multifunction &&
      (compile.functions.size() != 1 || compile.functions[0].name != "main"))
    refuse(Code::OptionValue,
           "a package that is not multifunction has one function, and it is called 'main'",
           Exception::Reason::Option);
  checker.reset();

  Observer observer(*this, stopped, warnings);
  warnOfChanges(added, observer,
                "since the function was added: the package has what they hold now");
  observer.onFinishing([&] {
    warnOfChanges(added, observer,
                  "while it was exported: the package may hold a mix of old and new values; export "
                  "a copy, or wait");
  });
  auto written = [&]() -> llvm::Expected<driver::CompileReport> {
    try {
      return driver::compile(compile, observer);
    } catch (const std::bad_alloc &) {
      throw;
    } catch (const std::exception &error) {
      return makeError(Code::ModelRaises, "{0}", error.what());
    }
  }();
  cancelled = false;
  if (!written) {
    if (observer.thrown()) {
      llvm::consumeError(written.takeError());
      std::rethrow_exception(observer.thrown());
    }
    if (observer.wasCancelled()) { // each step says in its own words where it was
      llvm::consumeError(written.takeError());
      refuse(Code::Cancelled, path + ": cancelled; nothing is written",
             Exception::Reason::Cancelled);
    }
    raise(written.takeError());
  }
  Report report = toReport(*written);
  setWarnings(report, warnings);
  if (llvm::any_of(compile.functions, [&](const auto &f) {
        return !f.adapters.specs.empty() && compile.loraOf(f) == mil::LoraMode::Inputs;
      }))
    report.adapterMap = driver::adapterMapPath(path);
  return report;
}

Report Compiler::write(const std::string &path) { return writeUnless(path, nullptr); }
Report Compiler::addTo(const std::string &path) { return addToUnless(path, nullptr); }
Report Compiler::writeUnless(const std::string &path, std::function<bool()> stopped) {
  return impl().write(path, /*append=*/false, stopped);
}
Report Compiler::addToUnless(const std::string &path, std::function<bool()> stopped) {
  return impl().write(path, /*append=*/true, stopped);
}

} // namespace plait::inline v0
