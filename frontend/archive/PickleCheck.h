// A look over a pickle before LibTorch unpickles it. LibTorch allocates whatever length a string
// claims to have, and as many memo slots as the highest index asks for; it calls what a number
// says, takes element types from anywhere, and frees values by recursion. So its machine runs here
// first, on what kind of thing each value is.
//
//   pickle   := op* '.'
//   op       := code argument
//   argument := nothing | 1, 2, 4 or 8 bytes | u8 or u32 or u64 length, then that many bytes | two
//   lines
#pragma once

#include "support/Error.h"
#include "llvm/ADT/StringRef.h"

namespace plait {

/// An error if an operation of `pickle` claims more bytes than follow, takes values that are not
/// there, calls what is no class or function, or makes a storage of what is no element type; if it
/// is of another protocol than 2; and if containers are nested too deep, hold themselves, or are
/// too many. Operations that LibTorch does not know end the check: it refuses them.
Error checkPickle(llvm::StringRef pickle);

/// The same; gives a pickle whose OrderedDicts are dictionaries. LibTorch, which knows them as
/// hooks of tensors alone, makes None of them, but the state of a module is one.
Expected<std::string> withPlainDictionaries(llvm::StringRef pickle);

} // namespace plait
