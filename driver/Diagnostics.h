// What the command says on the terminal: errors and warnings on stderr, a line of progress if
// stderr is a terminal, and how numbers are written.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/Twine.h"

namespace plait::driver {

/// "plait: error: …" for each error inside; a message of several lines keeps them, indented.
void printError(Error error);
void printWarning(llvm::StringRef message);

/// One line on stderr that is overwritten; says nothing where stderr is no terminal or `quiet`.
class ProgressLine {
public:
  explicit ProgressLine(bool quiet);
  ~ProgressLine() { clear(); }
  void show(const llvm::Twine &what);
  void clear();

private:
  bool enabled_;
  bool shown_ = false;
};

/// "147,074,112"
std::string grouped(uint64_t number);
/// "140.3 MiB", "512 bytes"
std::string humanBytes(uint64_t bytes);

} // namespace plait::driver
