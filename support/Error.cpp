// Errors of no kind, and context for those that cross a module boundary.
#include "support/Failure.h"

#include <cerrno>

namespace plait {

Error vmakeError(fmt::string_view format, fmt::format_args args) {
  return llvm::make_error<llvm::StringError>(fmt::vformat(format, args),
                                             llvm::inconvertibleErrorCode());
}

std::error_code lastError() { return {errno, std::generic_category()}; }

Error addContext(Error error, const llvm::Twine &prefix) {
  if (!error)
    return Error::success();
  Failure failure = takeFailure(std::move(error));
  return makeFailure(failure.kind, fmt::format("{0}: {1}", prefix.str(), failure.message),
                     std::move(failure.problems));
}

} // namespace plait
