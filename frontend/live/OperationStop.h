// Ends what LibTorch runs on a thread: a model's forward(), an interpreter. LibTorch has nothing
// that interrupts a kernel, and its observers cannot throw. So an observer asks at both ends of
// each operation whether to go on. Where not, it turns on a dispatch key for which no kernel
// exists, and the next operation throws c10::Error.
#pragma once

#include "llvm/ADT/STLFunctionalExtras.h"

#include <functional>
#include <memory>

namespace plait::frontend {

/// While it lives, operations that this thread begins after `proceed` said no throw c10::Error. An
/// operation that has begun runs to its end.
class OperationStop {
public:
  explicit OperationStop(std::function<bool()> proceed);
  ~OperationStop();
  OperationStop(const OperationStop &) = delete;

  /// Whether `proceed` said no, so that what was thrown since is of no interest.
  bool stopped() const;
  /// Calls `work` and says whether it came to its end: not where it was stopped, whether an
  /// operation has thrown for that or not.
  bool guard(llvm::function_ref<void()> work);

private:
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace plait::frontend
