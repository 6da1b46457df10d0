// The side file of a package that says where its operations come from and which parameters its
// constants are. It lies beside the model file, no manifest names it, and Core ML does not look at
// it:
//
//   NAME.mlpackage/Data/com.apple.CoreML/plait-debug.json
//
//   {"version": 1,
//    "functions": {NAME: {
//      "places": [[MODULE, SOURCE, OPERATOR], ...],
//      "operations": {RESULT: INDEX OF ITS PLACE, ...},
//      "parameters": {CONSTANT: [PATH, ...], ...},
//      "computed": {CONSTANT: [PATH OF WHAT IT WAS COMPUTED FROM, ...], ...}}, ...}}
//
// Operations are known by the name of their first result, else by their own. What it says of names
// that the model does not have is ignored, so that it need not change in the same moment.
#pragma once

#include "mil/IR.h"
#include "support/FileSystem.h"

namespace plait {

/// Where the side file of a model file lies.
std::string debugInfoPath(llvm::StringRef modelPath);

/// Some operation has a location, or some constant is a parameter with a name.
bool hasDebugInfo(const mil::Program &program);

/// The side file's text.
std::string encodeDebugInfo(const mil::Program &program);

/// Gives operations and constants what the side file says, where there is one. One that cannot be
/// read is an error.
Error readDebugInfo(llvm::StringRef modelPath, mil::Program &program);

/// Enters the functions of `added`, where that is given, and takes out those of `removed`. Nothing
/// is done where there is no file and nothing to enter.
Error editDebugInfo(FileSystem &files, llvm::StringRef modelPath, const mil::Program *added,
                    llvm::ArrayRef<std::string> removed);

} // namespace plait
