// Patches: what makes one package of another, byte by byte, in few bytes. docs/patch.md.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/StringRef.h"

namespace plait::driver {

struct PatchReport {
  uint64_t patchBytes = 0;
  uint64_t resultBytes = 0; ///< of all files of the result
  uint64_t copiedBytes = 0; ///< of these, what is in the base already
  bool isApplied = false;   ///< the package was the result before
};

/// Writes to `patch`, which may be there, what makes the package `result` of the package `base`.
/// Equal packages give equal patches. `threads`: 0 means one a processor.
Expected<PatchReport> makePatch(llvm::StringRef base, llvm::StringRef result, llvm::StringRef patch,
                                unsigned threads = 0);

/// Makes of the package `base` what the patch says and puts it at `target`, which may be `base`
/// itself, another package or nothing, in one step. Every file of the result is digested before it
/// takes its place. On error all is as it was; where the package is not the one that the patch is
/// for, the error says which file differs.
Expected<PatchReport> applyPatch(llvm::StringRef base, llvm::StringRef patch,
                                 llvm::StringRef target, unsigned threads = 0);

} // namespace plait::driver
