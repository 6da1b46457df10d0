// Which models are traced in the process at this moment. Two traces that share modules or buffers
// would disturb one another: each puts the modules into evaluation mode and back, and gives buffers
// their contents back. So the later one waits for the earlier one.
//
// It would wait for ever where the earlier one waits for it: where forward() starts a thread that
// adds the same model, and joins it. No thread knows which one started it. But a forward() that
// waits runs no operation of LibTorch's meanwhile, and that can be seen.
#pragma once

#include "support/Error.h"

#include <atomic>
#include <memory>
#include <vector>

namespace torch::nn {
class Module;
}

namespace plait::frontend {

/// What a thread does that traces. Written by that thread, read by those that wait for it.
struct TraceActivity {
  std::atomic<bool> inForward = false; ///< the model runs
  std::atomic<uint64_t> operationsBegun = 0, operationsEnded = 0;
};

/// Holds a model while it lives. Made, used and destroyed by one thread.
class ModuleUse {
public:
  /// Waits for those that hold a part of `module`, which may be null. Fails where one of them is in
  /// its forward() and has run no operation for some seconds, and where ProceedScope says no.
  static Expected<ModuleUse> take(torch::nn::Module *module);
  ModuleUse(ModuleUse &&) noexcept;
  ~ModuleUse();

  TraceActivity &activity() { return *activity_; }

private:
  ModuleUse();

  std::shared_ptr<TraceActivity> activity_;
  uint64_t callback_ = 0;
};

} // namespace plait::frontend
