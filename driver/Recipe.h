// Recipes: everything that `plait compile` takes as options, in a YAML file. docs/command.md has
// the schema with an example.
#pragma once

#include "driver/Compiler.h"

namespace plait::driver {

/// Whether an operand of `plait compile` is a recipe: it ends in .yaml or .yml.
bool isRecipe(llvm::StringRef path);

/// Reads a recipe. Paths in it are relative to its own folder. Errors give line and column.
Expected<CompileOptions> readRecipe(llvm::StringRef path);

/// As readRecipe(), from text. `path` is the file's name in errors, and paths are relative to its
/// folder.
Expected<CompileOptions> parseRecipe(llvm::StringRef text, llvm::StringRef path);

} // namespace plait::driver
