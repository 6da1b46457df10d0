// The public compiler: collects functions, then lets the driver do what the command does.
#include "api/Impl.h"

#include "driver/AdapterSyntax.h"
#include "driver/InputSyntax.h"
#include "driver/Recipe.h"
#include "passes/Pass.h"

#include "llvm/Support/FormatVariadic.h"

namespace plait::inline v0 {

std::string_view version() { return PLAIT_VERSION; }

Exception::~Exception() = default;

void raise(llvm::Error error) { throw Exception(llvm::toString(std::move(error))); }

static passes::LoraMode toMode(Lora lora) {
  return lora == Lora::fold ? passes::LoraMode::Fold : passes::LoraMode::Keep;
}

driver::FunctionOptions makeFunction(const std::string &name, const FunctionOptions &options) {
  driver::FunctionOptions function;
  function.name = name;
  for (const std::string &text : options.input)
    function.inputs.push_back(valueOrRaise(driver::parseInput(text)));
  function.outputs = options.output;
  if (options.lora)
    function.lora = toMode(*options.lora);
  function.method = options.method;
  if (!options.adapter.empty())
    function.adapters = valueOrRaise(driver::parseAdapters(options.adapter));
  return function;
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
  options.lora = recipe.lora == passes::LoraMode::Fold ? Lora::fold : Lora::keep;
  options.share = recipe.share;
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
void Compiler::onWarning(std::function<void(std::string_view)> callback) {
  impl_->warning = std::move(callback);
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
    tell();
  }
  void warning(llvm::StringRef message) override {
    std::scoped_lock lock(mutex_);
    warnings_.push_back(message.str());
    guarded([&] {
      if (impl_.warning)
        impl_.warning(std::string_view(message.data(), message.size()));
    });
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

Report Compiler::write(const std::string &path) {
  const PackageOptions &options = impl_->options;
  driver::CompileOptions compile;
  compile.output = path;
  compile.functions = impl_->functions;
  compile.multifunction = options.multifunction;
  compile.defaultFunction = options.defaultFunction;
  compile.precision =
      options.precision == Precision::fp16 ? passes::Precision::F16 : passes::Precision::F32;
  compile.lora = toMode(options.lora);
  compile.share = options.share;
  compile.threads = options.threads;
  compile.metadata.author = options.author;
  compile.metadata.license = options.license;
  compile.metadata.version = options.versionString;
  compile.metadata.description = options.description;
  for (const auto &[key, value] : options.meta)
    compile.metadata.userDefined[key] = value;
  if (!options.multifunction &&
      (compile.functions.size() != 1 || compile.functions[0].name != "main"))
    throw Exception(
        "a package that is not multifunction has one function, and it is called 'main'");
  if (!llvm::StringRef(path).rtrim('/').ends_with(".mlpackage"))
    throw Exception(path + ": the name of a package ends in .mlpackage");

  Report report;
  report.warnings = impl_->tracingWarnings;
  Observer observer(*impl_, report.warnings);
  llvm::Expected<driver::CompileReport> written = driver::compile(compile, observer);
  bool cancelled = impl_->cancelled.exchange(false);
  if (!written) {
    if (observer.thrown()) {
      llvm::consumeError(written.takeError());
      std::rethrow_exception(observer.thrown());
    }
    throw Exception(llvm::toString(written.takeError()),
                    cancelled ? Exception::Reason::Cancelled : Exception::Reason::Failed);
  }
  for (const driver::CompileReport::Function &function : written->functions)
    report.functions.push_back(
        {function.name, function.operations, function.ownBytes, function.sharedBytes});
  report.weightFileBytes = written->weightFileBytes;
  report.packageBytes = written->packageBytes;
  return report;
}

} // namespace plait::inline v0
