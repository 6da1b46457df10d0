// Names of sizes that inputs of a function have in common. In a program they are symbols:
// dimensions of one symbol are one size. The text form that Core ML reads has "?" there, and the
// names as an attribute of the function, for each input the name of each dimension:
//
//   PlaitSizeNames = dict<string, tensor<string, [?]>>({{"x", ["", "n"]}, {"m", ["", "n"]}})
//
// A size that follows from others is an expression over their names: "2*n + 1"
// (mil/SizeExpression.h).
#pragma once

#include "mil/IR.h"

namespace plait::mil {

inline constexpr llvm::StringLiteral sizeNamesAttribute = "PlaitSizeNames";

/// Names of the input's dimensions, or how they follow from others; "" where nothing but the input
/// itself has that size. Empty where no dimension has a name.
std::vector<std::string> sizeNames(const Function &function, const Value &input);

/// The attribute; nullopt where no input has names.
std::optional<Attr> sizeNames(const Function &function);

/// Gives the inputs' dynamic dimensions the names and expressions that the attribute says. An
/// attribute of another form, names that do not fit the inputs or are of no dimension, or one name
/// for dimensions of several bounds: nothing is changed.
void applySizeNames(Function &function, const Attr &attribute);

} // namespace plait::mil
