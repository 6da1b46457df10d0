// A recipe with what was found while it was compiled.
#pragma once

#include "driver/Compiler.h"

namespace plait::driver {

/// The recipe's text with `precision: fp16` and `keep_fp32:` in place of what it says of the
/// precision: `kept`, which it says already, and the choice. Everything else stays as it is,
/// comments included. An error where its keys are not on lines of their own.
Expected<std::string> withChoice(llvm::StringRef recipe, llvm::ArrayRef<std::string> kept,
                                 const PrecisionReport &choice);

/// Whether the recipe `from` can be written as `to`: in the same folder, which its paths start at.
Error checkRecipeTarget(llvm::StringRef from, llvm::StringRef to);

/// Writes withChoice() of the recipe `from` as `to`, which may be the same file.
Error writeChoice(llvm::StringRef from, llvm::StringRef to, llvm::ArrayRef<std::string> kept,
                  const PrecisionReport &choice);

} // namespace plait::driver
