// What is behind the public classes (private).
#pragma once

#include "plait/plait.h"

#include "driver/Compiler.h"
#include "runtime/Runner.h"

#include <atomic>
#include <mutex>

namespace plait::inline v0 {

/// The error as the one public exception.
[[noreturn]] void raise(llvm::Error error);
template <typename T> T valueOrRaise(llvm::Expected<T> value) {
  if (!value)
    raise(value.takeError());
  return std::move(*value);
}

mil::Metadata toMetadata(const std::string &author, const std::string &license,
                         const std::string &version, const std::string &description,
                         const std::map<std::string, std::string> &meta);
/// Throws where a package may not be called so.
void checkPackageName(const std::string &path);
/// Throws where it is no percentage.
std::optional<double> checkedShare(std::optional<double> percent);
Report toReport(const driver::CompileReport &report);
Array toArray(const mil::TensorData &tensor);
/// `what` is what messages call it: "input 'x'".
mil::TensorData toTensorData(const std::string &what, const Array &array);

/// What the user says of an adapter's scale; throws where both or no numbers are given.
std::optional<adapters::GivenScale> givenScale(std::optional<double> alpha,
                                               std::optional<double> scale);

/// Checks and parses what every way of adding a function takes.
driver::FunctionOptions makeFunction(const std::string &name, const FunctionOptions &options);

struct Compiler::Impl {
  PackageOptions options;
  std::vector<driver::FunctionOptions> functions;
  std::vector<std::string> tracingWarnings;
  std::function<void(const Progress &)> progress;
  std::function<void(Severity, std::string_view)> log;
  std::atomic<bool> cancelled = false;

  void add(driver::FunctionOptions function);
  Report write(const std::string &path, bool append);
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
  runtime::Runner runner;

  /// `inputs` in any element type.
  std::vector<runtime::NamedResult> run(llvm::ArrayRef<runtime::NamedTensor> inputs);
  /// All of them, or none.
  void setStates(llvm::ArrayRef<runtime::NamedTensor> states);
};

} // namespace plait::inline v0
