// A file that cannot be read, and the one that may have been meant.
#include "driver/Unreadable.h"

#include "support/DidYouMean.h"
#include "support/Failure.h"

namespace plait::driver {

Error unreadable(llvm::StringRef path, std::error_code why) {
  bool isMissing = why == std::errc::no_such_file_or_directory;
  return makeFailure(
      FailureKind::File, Code::FileUnreadable,
      fmt::format("{0}: {1}{2}", path, why.message(), isMissing ? didYouMeanFile(path) : ""));
}

} // namespace plait::driver
