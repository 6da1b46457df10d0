// Runs functions on constants in memory: the interpreter without LibTorch in sight.
#pragma once

#include "mil/IR.h"
#include "runtime/Compute.h"

#include <functional>
#include <optional>

namespace plait::runtime {

struct NamedTensor {
  std::string name;
  mil::TensorData value;
};

/// A tensor, or what a classifier gives: a label and a dictionary.
struct NamedResult {
  std::string name;
  mil::Attr value;
};

struct RunOptions {
  Compute compute = Compute::Float32;
  bool profile = false;
  /// What random numbers follow from, where an operation has no seed of its own; nothing: each run
  /// draws others.
  std::optional<uint64_t> seed = {};
  /// Values whose contents traced() gives after a run; all of them with traceAll.
  std::vector<std::string> trace;
  bool traceAll = false;
  /// Told, as operations of the function are done, how much of a run that is, from 0 to 1.
  std::function<void(double)> progress = {};
};

/// How long the operations of one kind took in all runs; nested operations count in the control
/// flow around them too.
struct ProfileRow {
  mil::OpKind kind;
  uint64_t calls;
  double milliseconds;
};

class Runner {
public:
  /// What does it. A program that has only this header calls whoever made the runner, which may be
  /// a shared object that was loaded.
  class Impl {
  public:
    virtual ~Impl() = default;
    virtual Expected<std::vector<NamedResult>> run(llvm::ArrayRef<NamedTensor> inputs) = 0;
    virtual std::vector<NamedTensor> traced() const = 0;
    virtual std::vector<ProfileRow> profile() const = 0;
    virtual std::vector<NamedTensor> states() const = 0;
    virtual void resetStates() = 0;
    virtual Error setState(const NamedTensor &state) = 0;
  };

  /// The function must outlive the runner and stay as it is. An error names every operation that
  /// has no evaluator, and every traced name that the function has not.
  static Expected<Runner> create(const mil::Function &function, RunOptions options = {});
  explicit Runner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

  /// Inputs by name, each of exactly the element type and shape that the function declares. Outputs
  /// in the order of the function, their bytes at hand. States are kept from run to run.
  Expected<std::vector<NamedResult>> run(llvm::ArrayRef<NamedTensor> inputs) {
    return impl_->run(inputs);
  }
  /// Values of the last run, in the order they were computed (in a loop, the last of each name).
  std::vector<NamedTensor> traced() const { return impl_->traced(); }
  /// Slowest first.
  std::vector<ProfileRow> profile() const { return impl_->profile(); }
  /// Contents of the states now.
  std::vector<NamedTensor> states() const { return impl_->states(); }
  void resetStates() { impl_->resetStates(); }
  /// The content of a state from now on: of its shape, in any floating-point type.
  Error setState(const NamedTensor &state) { return impl_->setState(state); }

private:
  std::unique_ptr<Impl> impl_;
};

} // namespace plait::runtime
