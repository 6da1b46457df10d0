// --save-recipe: what a compile was told, as a recipe that makes the same package.
#pragma once

#include "driver/Compiler.h"

namespace plait::driver {

/// Everything that the options say of the package, function by function, so that readRecipe() of it
/// gives the same options; what `--precision auto` chose takes its place. Paths that are not
/// absolute are made relative to the folder of `path`, which exists.
std::string recipeText(const CompileOptions &options,
                       const std::optional<PrecisionReport> &precision, llvm::StringRef path);

} // namespace plait::driver
