// -v: where the time goes, phase by phase and pass by pass. Lines go to the standard error as
// phases and passes end; passes that changed nothing are summed up.
//
//   plait: read        0.31 s  chat
//   plait: lower       0.52 s  chat
//   plait:   fold-constants   0.012 s  1204 -> 1180 operations
//   plait:   41 runs of passes that changed nothing   0.020 s
//   plait: passes      0.20 s
//   plait: share       0.01 s
//   plait: write       0.44 s
#pragma once

#include "driver/CommandLine.h"
#include "passes/Pipeline.h"

#include <chrono>
#include <mutex>

namespace plait::driver {

extern const Option verboseOption;

class Timing {
public:
  /// Says nothing and measures nothing unless `shown`.
  explicit Timing(bool shown) : shown_(shown) {}

  /// Ends the phase that went on, and begins another; "" begins none. From any thread.
  void enter(llvm::StringRef phase, llvm::StringRef of = "");
  /// Hears of the passes too. What hooks do themselves is not measured. The object has to live as
  /// long as the hooks.
  void watch(passes::PipelineHooks &hooks);
  /// "phases" and "passes" of a command's reply, where they were measured. Ends the phase.
  void addTo(llvm::json::Object &reply);

private:
  using Clock = std::chrono::steady_clock;
  struct Phase {
    std::string name, of;
    double seconds = 0;
  };
  struct PassRun {
    std::string name;
    double seconds;
    size_t before, after; ///< operations
    bool changed;
  };

  void passEnds(const passes::PassInfo &pass, const mil::Program &program, bool changed);
  void finish();

  bool shown_;
  std::mutex mutex_;
  std::vector<Phase> phases_;
  std::vector<PassRun> passes_;
  size_t summedUp_ = 0; ///< of passes_, those that lines were printed of
  bool inPhase_ = false;
  Clock::time_point phaseStart_, passStart_;
  size_t before_ = 0;
};

} // namespace plait::driver
