// Bytes as a share; the first of them begins the phase.
#include "driver/WriteSteps.h"

#include <atomic>
#include <memory>

namespace plait::driver {

WriteProgress writeSteps(std::function<bool(double)> proceed,
                         std::function<void(llvm::StringRef)> phase) {
  auto writing = std::make_shared<std::atomic<bool>>(false);
  return [=](uint64_t done, uint64_t total) {
    if (done && !writing->exchange(true))
      phase("write");
    return proceed(double(done) / double(total));
  };
}

} // namespace plait::driver
