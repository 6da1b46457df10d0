// PlaitConstantArguments, an attribute of a function: arguments of the model that it was made from
// which are no inputs, since the user said what they are in every call. Whoever runs the model
// beside the function needs them. A package says it in its metadata.
//
//   func main<ios18>(…) [PlaitConstantArguments = dict<string, string>({{"scale", "2.0"}})]
#pragma once

#include "mil/IR.h"

namespace plait::mil {

inline constexpr llvm::StringLiteral constantArgumentsAttribute = "PlaitConstantArguments";

/// By name, as the command's --input has them.
std::map<std::string, std::string> constantArgumentsOf(const Function &function);
void setConstantArguments(Function &function, const std::map<std::string, std::string> &arguments);

} // namespace plait::mil
