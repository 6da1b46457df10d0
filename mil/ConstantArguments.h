// What a function has of its model that Core ML has no word for, as attributes of the function. A
// package says it in its metadata.
//
//   func main<ios18>(…) [PlaitConstantArguments = dict<string, string>({{"scale", "2.0"}}),
//                        PlaitHandedInputs = dict<string, string>({{"n", "n_out"}})]
//
// PlaitConstantArguments: arguments of the model which are no inputs, since the user said what they
// are in every call. Whoever runs the model beside the function needs them.
// PlaitHandedInputs: inputs that stand for a tensor of the model which a call changes, and the
// outputs that the next call takes in their place.
#pragma once

#include "mil/IR.h"

namespace plait::mil {

inline constexpr llvm::StringLiteral constantArgumentsAttribute = "PlaitConstantArguments";
inline constexpr llvm::StringLiteral handedInputsAttribute = "PlaitHandedInputs";

/// By name, as the command's --input has them.
std::map<std::string, std::string> constantArgumentsOf(const Function &function);
void setConstantArguments(Function &function, const std::map<std::string, std::string> &arguments);

/// Outputs by inputs.
std::map<std::string, std::string> handedInputsOf(const Function &function);
void setHandedInputs(Function &function, const std::map<std::string, std::string> &outputs);

} // namespace plait::mil
