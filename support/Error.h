// Errors as values: llvm::Error and llvm::Expected at every module boundary. A message starts in
// lower case and says what went wrong, where, and what to do about it.
#pragma once

#include "llvm/Support/Error.h"
#include "llvm/Support/FormatVariadic.h"

namespace plait {

using llvm::Error;
using llvm::Expected;

/// An error whose text is llvm::formatv(format, args...): `makeError("{0}: no such file", path)`.
template <typename... Args> Error makeError(const char *format, Args &&...args) {
  return llvm::make_error<llvm::StringError>(
      llvm::formatv(format, std::forward<Args>(args)...).str(), llvm::inconvertibleErrorCode());
}

/// `prefix: message` for each error in `error`; success stays success.
Error addContext(Error error, const llvm::Twine &prefix);

} // namespace plait
