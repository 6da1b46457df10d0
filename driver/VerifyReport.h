// What `plait verify` says of a function.
#pragma once

#include "runtime/Verify.h"

#include "llvm/Support/JSON.h"

namespace llvm {
class raw_ostream;
}

namespace plait::driver {

/// A function that was held against a model.
struct Verified {
  std::string function, against;
  std::string adapter; ///< that was merged into the model; or ""
  runtime::VerifyReport report;
  std::vector<std::string> bisection; ///< lines on what --bisect found
};

/// `steps` calls were made for each draw.
void printVerified(const Verified &verified, unsigned steps, llvm::raw_ostream &out);
llvm::json::Object toJson(const Verified &verified);

} // namespace plait::driver
