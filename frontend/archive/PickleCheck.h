// A look over a pickle before LibTorch unpickles it. LibTorch allocates whatever length a string
// claims to have, and as many memo slots as the highest index asks for, so that a few damaged bytes
// cost gigabytes.
//
//   pickle   := op* '.'
//   op       := code argument
//   argument := nothing | 1, 2, 4 or 8 bytes | u8 or u32 or u64 length, then that many bytes | two
//   lines
#pragma once

#include "support/Error.h"
#include "llvm/ADT/StringRef.h"

namespace plait {

/// An error if an operation of `pickle` claims more bytes than follow, or a memo slot beyond the
/// number of operations that there can be. Operations that LibTorch does not know end the check: it
/// refuses them.
Error checkPickle(llvm::StringRef pickle);

} // namespace plait
