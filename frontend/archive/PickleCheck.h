// A look over the pickle of a model before LibTorch unpickles it. LibTorch allocates whatever
// length a string claims to have, and as many memo slots as the highest index asks for; it calls
// what a number says, takes element types from anywhere, and frees values by recursion. So its
// machine runs here first, on what kind of thing each value is.
#pragma once

#include "support/Error.h"
#include "llvm/ADT/StringRef.h"

namespace plait {

/// An error if an operation of `pickle` claims more bytes than follow, takes values that are not
/// there, calls what is no class or function, or makes a storage of what is no element type; if it
/// is of another protocol than 2; and if containers are nested too deep, hold themselves, or are
/// too many. Operations that LibTorch does not know end the check: it refuses them.
Error checkPickle(llvm::StringRef pickle);

} // namespace plait
