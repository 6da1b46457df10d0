// Errors as values: llvm::Error and llvm::Expected at every module boundary. A message starts in
// lower case and says what went wrong, where, and what to do about it; its code says of what kind
// it is.
#pragma once

#include "support/Code.h"
#include "support/Format.h"

#include "llvm/Support/Error.h"

namespace plait {

using llvm::Error;
using llvm::Expected;

Error vmakeError(Code code, fmt::string_view format, fmt::format_args args);

/// An error whose text is fmt::format(format, args...):
/// `makeError(Code::FileUnreadable, "{0}: no such file", path)`.
template <typename... Args>
Error makeError(Code code, fmt::format_string<Args...> format, Args &&...args) {
  return vmakeError(code, format, fmt::make_format_args(args...));
}

/// What the system call that just failed left in errno.
std::error_code lastError();

/// `prefix: message` for each error in `error`, with its code; success stays success.
Error addContext(Error error, const llvm::Twine &prefix);

} // namespace plait
