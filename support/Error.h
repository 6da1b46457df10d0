// Errors as values: llvm::Error and llvm::Expected at every module boundary. A message starts in
// lower case and says what went wrong, where, and what to do about it.
#pragma once

#include "support/Format.h"

#include "llvm/Support/Error.h"

namespace plait {

using llvm::Error;
using llvm::Expected;

Error vmakeError(fmt::string_view format, fmt::format_args args);

/// An error whose text is fmt::format(format, args...): `makeError("{0}: no such file", path)`.
template <typename... Args> Error makeError(fmt::format_string<Args...> format, Args &&...args) {
  return vmakeError(format, fmt::make_format_args(args...));
}

/// What the system call that just failed left in errno.
std::error_code lastError();

/// `prefix: message` for each error in `error`; success stays success.
Error addContext(Error error, const llvm::Twine &prefix);

} // namespace plait
