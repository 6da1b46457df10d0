// What the command says beside its results: errors and warnings on the standard error, and how
// numbers are written.
#pragma once

#include "support/Error.h"
#include "support/Failure.h"

#include <optional>

namespace plait::driver {

/// An error or a warning that was printed.
struct Message {
  bool isError;
  std::optional<FailureKind> kind = {}; ///< of an error; none: the command was called wrongly
  FailureProblem problem = {};          ///< text, code, and where in a model it is, as far as known
};

/// "plait: error: … [P0101]" for each error inside; a message of several lines keeps them,
/// indented.
void printError(Error error);
void printWarning(const Warning &warning);

/// What was printed since the last call. One command is at work at a time.
std::vector<Message> takeMessages();

/// "147,074,112"
std::string grouped(uint64_t number);
/// "140.3 MiB", "512 bytes"
std::string humanBytes(uint64_t bytes);

} // namespace plait::driver
