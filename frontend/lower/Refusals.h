// Operators that are refused on purpose: why, by name.
#pragma once

#include "llvm/ADT/StringRef.h"

namespace plait::frontend {

/// Why there is no lowering of "aten::linalg_svd", and what to do; empty where nothing is known
/// about the operator. Overloads share the reason.
llvm::StringRef refusalOf(llvm::StringRef name);

} // namespace plait::frontend
