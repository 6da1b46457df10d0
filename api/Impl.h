// What is behind the public classes (private).
#pragma once

#include "plait/plait.h"

#include "driver/Compiler.h"
#include "frontend/FunctionChecker.h"
#include "runtime/Runner.h"
#include "support/Failure.h"

#include <atomic>
#include <mutex>

namespace plait::inline v0 {

/// The error as the one public exception, of `kind` where it does not say itself.
[[noreturn]] void raise(llvm::Error error, FailureKind kind = FailureKind::Unknown);
/// What the library refuses of itself.
[[noreturn]] void refuse(Code code, const std::string &message,
                         Exception::Reason reason = Exception::Reason::Failed);
template <typename T>
T valueOrRaise(llvm::Expected<T> value, FailureKind kind = FailureKind::Unknown) {
  if (!value)
    raise(value.takeError(), kind);
  return std::move(*value);
}
/// Text that speaks of options of the command, speaking of what a program sets (Wording.cpp).
std::string forPrograms(llvm::StringRef text);
/// Throws where this thread runs a model that is traced: LibTorch would record what plait does.
void refuseWhileTracing();
[[noreturn]] void refuseMoved(const char *type);

mil::Metadata toMetadata(const std::string &author, const std::string &license,
                         const std::string &version, const std::string &description,
                         const std::map<std::string, std::string> &meta);
/// Throws where a package may not be called so.
void checkPackageName(const std::string &path);
/// Throws where it is no percentage.
std::optional<double> checkedShare(std::optional<double> percent);
Report toReport(const driver::CompileReport &report);
void setWarnings(Report &report, llvm::ArrayRef<Warning> warnings);
Array toArray(const mil::TensorData &tensor);
/// `what` is what messages call it: "input 'x'".
mil::TensorData toTensorData(const std::string &what, const Array &array);

/// Throws where something is said of an adapter and there is none.
template <typename Options> void checkAdapterOptions(const Options &options) {
  const char *said = options.adapterRoot ? "adapterRoot"
                     : options.loraAlpha ? "loraAlpha"
                     : options.loraScale ? "loraScale"
                                         : nullptr;
  if (said && options.adapter.empty())
    refuse(Code::OptionConflict,
           std::string(said) + " says something of an adapter, and `adapter` names none",
           Exception::Reason::Option);
}
/// What the user says of an adapter's scale; throws where both or no numbers are given.
std::optional<adapters::GivenScale> givenScale(std::optional<double> alpha,
                                               std::optional<double> scale);

/// A function that was added.
struct Added {
  driver::FunctionOptions function;
  std::vector<Warning> warnings; ///< of adding it
  /// Weights in memory that were written to since it was asked last, or since the function was
  /// added; null where there are none.
  std::function<std::vector<std::string>()> changed;
};

/// Checks and parses what every way of adding a function takes. `examples`: whether inputs may
/// leave out their shapes.
Added makeFunction(const std::string &name, const FunctionOptions &options, bool examples = false);

struct Compiler::Impl {
  PackageOptions options;
  std::vector<Added> added;
  std::function<void(const Progress &)> progress;
  std::function<void(Severity, std::string_view)> log;
  std::atomic<bool> cancelled = false;
  std::atomic<bool> writing = false;
  /// The file that it opened last stays open until the next write().
  std::unique_ptr<frontend::FunctionChecker> checker;

  /// Refuses what write() would refuse of what is said of a function, and says the warnings.
  void add(Added function);
  /// Names and shapes that are said, beside what the model has. cancel() ends it.
  llvm::Error checkAgainstModel(const driver::FunctionOptions &declared);
  /// `stopped`, where it is one, ends it.
  Report write(const std::string &path, bool append, const std::function<bool()> &stopped);
};

struct Program::Impl {
  std::string path;
  std::unique_ptr<mil::Program> program;
  std::vector<FunctionInfo> functions;
};

struct Session::Impl {
  std::shared_ptr<Program::Impl> program;
  const mil::Function *function;
  const FunctionInfo *info;
  runtime::RunOptions options;
  runtime::Runner runner;
  std::optional<Classification> classification = {}; ///< of the last run

  /// `inputs` in any element type. What no array is goes to `classification`.
  std::vector<runtime::NamedResult> run(llvm::ArrayRef<runtime::NamedTensor> inputs);
  /// All of them, or none.
  void setStates(llvm::ArrayRef<runtime::NamedTensor> states);
};

} // namespace plait::inline v0
