// The public compiler: collects functions, then lets the driver do what the command does.
#include "api/Impl.h"

#include "driver/AdapterMap.h"
#include "driver/AdapterSyntax.h"
#include "driver/ClassLabels.h"
#include "driver/InputSyntax.h"
#include "driver/Recipe.h"
#include "driver/StateSyntax.h"
#include "passes/Pass.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

namespace plait::inline v0 {

std::string_view version() { return PLAIT_VERSION; }

Exception::~Exception() = default;

void raise(llvm::Error error) { throw Exception(llvm::toString(std::move(error))); }

static mil::LoraMode toMode(Lora lora) {
  switch (lora) {
  case Lora::keep:
    return mil::LoraMode::Keep;
  case Lora::fold:
    return mil::LoraMode::Fold;
  case Lora::inputs:
    return mil::LoraMode::Inputs;
  }
  throw Exception("the lora of PackageOptions or FunctionOptions is none of Lora's");
}

static Lora fromMode(mil::LoraMode mode) {
  return mode == mil::LoraMode::Inputs ? Lora::inputs
         : mode == mil::LoraMode::Fold ? Lora::fold
                                       : Lora::keep;
}

std::optional<adapters::GivenScale> givenScale(std::optional<double> alpha,
                                               std::optional<double> scale) {
  if (alpha && scale)
    throw Exception("loraAlpha and loraScale say the same: one of them is wanted");
  double value = alpha ? *alpha : scale.value_or(1);
  if (!std::isfinite(value))
    throw Exception("the scale of an adapter is a finite number");
  return alpha || scale ? std::optional(adapters::GivenScale{alpha.has_value(), value})
                        : std::nullopt;
}

driver::FunctionOptions makeFunction(const std::string &name, const FunctionOptions &options) {
  driver::FunctionOptions function;
  function.name = name;
  for (const std::string &text : options.input)
    function.inputs.push_back(valueOrRaise(driver::parseInput(text)));
  for (const std::string &text : options.output)
    function.outputs.push_back(valueOrRaise(driver::parseOutput(text)));
  function.descriptions = options.describe;
  if (!options.classes.empty())
    function.classes = valueOrRaise(driver::parseClasses(options.classes));
  if (!options.classOutput.empty() && !function.classes)
    throw Exception("classOutput is '" + options.classOutput + "', and there are no classes");
  if (function.classes)
    function.classes->scores = options.classOutput;
  for (const std::string &text : options.states)
    if (llvm::Error error = driver::addStates(function.states, text))
      raise(std::move(error));
  function.states.inputs = options.stateInputs;
  function.method = options.method;
  if (!options.adapter.empty())
    function.adapters.specs = valueOrRaise(driver::parseAdapters(options.adapter));
  driver::setScale(function.adapters.specs, givenScale(options.loraAlpha, options.loraScale));
  function.adapters.root = options.adapterRoot;
  function.adapters.allowUnmatched = options.allowUnmatched;
  if (options.lora)
    function.lora = toMode(*options.lora);
  if (llvm::Error error = driver::checkLora(function))
    raise(std::move(error));
  return function;
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
  throw Exception("PackageOptions::target is none of Target's");
}

Target fromOpset(mil::Opset opset) {
  for (Target target : {Target::ios16, Target::ios17, Target::ios26})
    if (toOpset(target) == opset)
      return target;
  return Target::ios18;
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
    throw Exception(path + ": the name of a package ends in .mlpackage");
}

std::optional<double> checkedShare(std::optional<double> percent) {
  if (percent && !(*percent >= 0 && *percent <= 100))
    throw Exception("expectShared is a percentage, from 0 to 100");
  return percent;
}

void Compiler::Impl::add(driver::FunctionOptions function) {
  for (const driver::FunctionOptions &other : functions)
    if (other.name == function.name)
      throw Exception("two functions are called '" + function.name +
                      "'; give each a name of its own");
  functions.push_back(std::move(function));
}

Compiler::Compiler(PackageOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
}
Compiler::Compiler(Compiler &&) noexcept = default;
Compiler &Compiler::operator=(Compiler &&) noexcept = default;
Compiler::~Compiler() = default;

Compiler Compiler::fromRecipe(const std::string &path) {
  driver::CompileOptions recipe = valueOrRaise(driver::readRecipe(path));
  Compiler compiler;
  PackageOptions &options = compiler.options();
  options.defaultFunction = recipe.defaultFunction;
  options.precision =
      recipe.precision == passes::Precision::F16 ? Precision::fp16 : Precision::fp32;
  options.target = fromOpset(recipe.target);
  options.lora = fromMode(recipe.lora);
  options.share = recipe.share;
  options.debugInfo = recipe.debugInfo;
  options.expectShared = recipe.expectShared;
  options.allow = recipe.allow;
  options.threads = recipe.threads;
  options.multifunction = recipe.multifunction;
  options.author = recipe.metadata.author;
  options.license = recipe.metadata.license;
  options.versionString = recipe.metadata.version;
  options.description = recipe.metadata.description;
  for (const auto &[key, value] : recipe.metadata.userDefined)
    options.meta[key] = value;
  for (driver::FunctionOptions &function : recipe.functions)
    compiler.impl_->add(std::move(function));
  return compiler;
}

void Compiler::addFile(const std::string &name, const std::string &path, FunctionOptions options) {
  driver::FunctionOptions function = makeFunction(name, options);
  function.model = path;
  impl_->add(std::move(function));
}

PackageOptions &Compiler::options() { return impl_->options; }
void Compiler::cancel() noexcept { impl_->cancelled = true; }
void Compiler::onProgress(std::function<void(const Progress &)> callback) {
  impl_->progress = std::move(callback);
}
void Compiler::onLog(std::function<void(Severity, std::string_view)> sink) {
  impl_->log = std::move(sink);
}

namespace {

/// Hands on what the driver tells. An exception of a callback ends the export and is thrown again
/// when the driver has cleaned up.
class Observer final : public driver::CompileObserver {
public:
  Observer(Compiler::Impl &impl, std::vector<std::string> &warnings)
      : impl_(impl), warnings_(warnings) {}

  void progress(const llvm::Twine &what) override {
    std::scoped_lock lock(mutex_);
    progress_.what = what.str();
    log(Severity::info, progress_.what);
    tell();
  }
  void warning(llvm::StringRef message) override {
    std::scoped_lock lock(mutex_);
    warnings_.push_back(message.str());
    log(Severity::warning, warnings_.back());
  }
  bool proceed(double done) override {
    std::scoped_lock lock(mutex_);
    if (done > progress_.done) {
      progress_.done = done;
      tell();
    }
    return !impl_.cancelled && !thrown_;
  }
  std::exception_ptr thrown() const { return thrown_; }

private:
  void tell() {
    guarded([&] {
      if (impl_.progress)
        impl_.progress(progress_);
    });
  }
  void log(Severity severity, const std::string &message) {
    guarded([&] {
      if (impl_.log)
        impl_.log(severity, message);
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

  Compiler::Impl &impl_;
  std::vector<std::string> &warnings_;
  std::mutex mutex_;
  Progress progress_;
  std::exception_ptr thrown_;
};

} // namespace

static passes::Precision precisionFor(const PackageOptions &options, const std::string &path,
                                      bool append) {
  if (options.precision)
    return *options.precision == Precision::fp16 ? passes::Precision::F16 : passes::Precision::F32;
  return append ? valueOrRaise(driver::precisionOf(path)) : passes::Precision::F16;
}

Report Compiler::Impl::write(const std::string &path, bool append) {
  checkPackageName(path);
  driver::CompileOptions compile;
  compile.output = path;
  compile.append = append;
  compile.functions = functions;
  compile.multifunction = options.multifunction || append;
  compile.defaultFunction = options.defaultFunction;
  compile.precision = precisionFor(options, path, append);
  compile.target = toOpset(options.target);
  compile.lora = toMode(options.lora);
  compile.share = options.share;
  compile.debugInfo = options.debugInfo;
  compile.expectShared = checkedShare(options.expectShared);
  compile.allow = options.allow;
  compile.threads = options.threads;
  compile.metadata = toMetadata(options.author, options.license, options.versionString,
                                options.description, options.meta);
  if (!compile.multifunction &&
      (compile.functions.size() != 1 || compile.functions[0].name != "main"))
    throw Exception(
        "a package that is not multifunction has one function, and it is called 'main'");

  std::vector<std::string> warnings = tracingWarnings;
  Observer observer(*this, warnings);
  llvm::Expected<driver::CompileReport> written = driver::compile(compile, observer);
  bool wasCancelled = cancelled.exchange(false);
  if (!written) {
    if (observer.thrown()) {
      llvm::consumeError(written.takeError());
      std::rethrow_exception(observer.thrown());
    }
    throw Exception(llvm::toString(written.takeError()),
                    wasCancelled ? Exception::Reason::Cancelled : Exception::Reason::Failed);
  }
  Report report = toReport(*written);
  report.warnings = std::move(warnings);
  if (llvm::any_of(compile.functions, [&](const auto &f) {
        return !f.adapters.specs.empty() && compile.loraOf(f) == mil::LoraMode::Inputs;
      }))
    report.adapterMap = driver::adapterMapPath(path);
  return report;
}

Report Compiler::write(const std::string &path) { return impl_->write(path, /*append=*/false); }
Report Compiler::addTo(const std::string &path) { return impl_->write(path, /*append=*/true); }

} // namespace plait::inline v0
