// What the command says on the terminal: errors and warnings on stderr, a line of progress if
// stderr is a terminal, and how numbers are written.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/Twine.h"

#include <chrono>

namespace plait::driver {

/// "plait: error: …" for each error inside; a message of several lines keeps them, indented.
void printError(Error error);
void printWarning(llvm::StringRef message);

/// One line on stderr that is overwritten; says nothing where stderr is no terminal or `quiet`, or
/// in the first `patience` seconds.
class ProgressLine {
public:
  explicit ProgressLine(bool quiet, double patience = 0);
  ~ProgressLine() { clear(); }
  void show(const llvm::Twine &what);
  void clear();

private:
  bool enabled_;
  std::chrono::steady_clock::time_point from_;
  bool shown_ = false;
};

/// "147,074,112"
std::string grouped(uint64_t number);
/// "140.3 MiB", "512 bytes"
std::string humanBytes(uint64_t bytes);

} // namespace plait::driver
