// CoreML_InputDefaultValues, an attribute of a function: what every element of an input is where
// the app gives no array. Core ML's text form has it as a dictionary of numbers by input; in a
// package, the input's description says that it is optional, and the number.
//
//   func main<ios18>(tensor<fp32, [2]> x) [CoreML_InputDefaultValues = dict<string, fp32>({{"x",
//   0.5}})]
#pragma once

#include "mil/IR.h"

namespace plait::mil {

inline constexpr llvm::StringLiteral defaultValuesAttribute = "CoreML_InputDefaultValues";

/// nullopt where the input has none.
std::optional<double> defaultValueOf(const Function &function, llvm::StringRef input);

/// The number is kept as fp32 holds it.
void setDefaultValue(Function &function, llvm::StringRef input, double value);

} // namespace plait::mil
