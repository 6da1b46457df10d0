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

/// Checks and parses what every way of adding a function takes.
driver::FunctionOptions makeFunction(const std::string &name, const FunctionOptions &options);

struct Compiler::Impl {
  PackageOptions options;
  std::vector<driver::FunctionOptions> functions;
  std::vector<std::string> tracingWarnings;
  std::function<void(const Progress &)> progress;
  std::function<void(std::string_view)> warning;
  std::atomic<bool> cancelled = false;

  void add(driver::FunctionOptions function);
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
};

} // namespace plait::inline v0
