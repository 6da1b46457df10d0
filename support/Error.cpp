// Context for errors that cross a module boundary.
#include "support/Error.h"

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
  return makeError("{0}: {1}", prefix.str(), llvm::toString(std::move(error)));
}

} // namespace plait
