// Runs functions on constants in memory: the interpreter without LibTorch in sight.
#pragma once

#include "mil/IR.h"
#include "runtime/Compute.h"

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
  /// Values whose contents traced() gives after a run; all of them with traceAll.
  std::vector<std::string> trace;
  bool traceAll = false;
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
  /// The function must outlive the runner and stay as it is. An error names every operation that
  /// has no evaluator, and every traced name that the function has not.
  static Expected<Runner> create(const mil::Function &function, RunOptions options = {});
  Runner(Runner &&) noexcept;
  ~Runner();

  /// Inputs by name, each of exactly the element type and shape that the function declares. Outputs
  /// in the order of the function, their bytes at hand. States are kept from run to run.
  Expected<std::vector<NamedResult>> run(llvm::ArrayRef<NamedTensor> inputs);

  /// Values of the last run, in the order they were computed (in a loop, the last of each name).
  std::vector<NamedTensor> traced() const;
  /// Slowest first.
  std::vector<ProfileRow> profile() const;
  /// Contents of the states now.
  std::vector<NamedTensor> states() const;
  void resetStates();

private:
  struct Impl;
  explicit Runner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace plait::runtime
