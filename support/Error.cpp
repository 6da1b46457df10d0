// Errors of no kind but with a code, and context for those that cross a module boundary.
#include "support/Failure.h"

#include <cerrno>

namespace plait {

Error vmakeError(Code code, fmt::string_view format, fmt::format_args args) {
  return makeFailure(FailureKind::Unknown, code, fmt::vformat(format, args));
}

std::error_code lastError() { return {errno, std::generic_category()}; }

Error addContext(Error error, const llvm::Twine &prefix) {
  if (!error)
    return Error::success();
  Failure failure = takeFailure(std::move(error));
  failure.prepend(prefix.str() + ": ");
  return makeFailure(std::move(failure));
}

} // namespace plait
