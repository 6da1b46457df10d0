// Running a model must not be seen in the random numbers of the process. Operations that draw from
// a default generator find it in a state of plait's own, and it goes on afterwards where it was:
// the thread that exports draws the same numbers as without the export, and no other thread draws a
// number twice.
//
// LibTorch has one default generator a device, for all threads. So what another thread draws while
// such an operation runs (microseconds, and only in a model that draws in evaluation mode) comes
// from plait's stream too, and is none of the numbers that the seed gives.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace c10 {
struct Device;
}

namespace plait::frontend {

/// While it lives, for operations that this thread runs: of the host, and of `devices`.
class OwnRandom {
public:
  OwnRandom();
  explicit OwnRandom(const std::vector<c10::Device> &devices);
  /// Of the host. The numbers follow from the seed, whatever ran before.
  explicit OwnRandom(uint64_t seed);
  ~OwnRandom();
  OwnRandom(const OwnRandom &) = delete;

private:
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace plait::frontend
