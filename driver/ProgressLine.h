// One line on a terminal that says what long work is at, how much of it is done, and how long the
// rest may take. It is written over until the work is done, and then it is gone.
//
//   lowering adapter_3 (3 of 8)  21 %  0:14 left
#pragma once

#include "llvm/ADT/Twine.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace plait::driver {

/// Shows nothing where the standard error is no terminal, where `quiet`, and in the first two
/// seconds. One at a time. All of it may be called from any thread.
class ProgressLine {
public:
  explicit ProgressLine(bool quiet);
  ~ProgressLine();
  ProgressLine(const ProgressLine &) = delete;

  /// What is being done now.
  void show(const llvm::Twine &what);
  /// How much of the whole is done, from 0 to 1.
  void reach(double done);

  /// While there is one, no line is on the terminal, and other text may be written to it.
  class Pause {
  public:
    Pause();
    ~Pause();
  };

  /// The text of the line; `elapsed` are seconds, which it says itself where little is `done`.
  static std::string text(llvm::StringRef what, double done, double elapsed, unsigned columns);

private:
  void draw();
  void erase();

  bool enabled_;
  bool onTerminal_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::string what_;
  double done_ = 0;
  bool finished_ = false;
  std::condition_variable wake_;
  std::thread
      ticker_; ///< writes the line anew, so that the time goes on where the work says nothing
};

} // namespace plait::driver
