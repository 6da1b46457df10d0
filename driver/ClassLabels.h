// Files of class labels.
//
//   file := label ('\n' label)*      a line each, in the order of the model's result
//
// Where every line is an integer the labels are integers, else they are strings.
#pragma once

#include "frontend/Frontend.h"
#include "support/Error.h"

namespace plait::driver {

/// The labels of a file. `label` is what the output is called that names the likeliest; "" leaves
/// its name.
Expected<frontend::ClassLabels> readClasses(llvm::StringRef path, llvm::StringRef label);

/// `[NAME=]FILE` as a file and a label, "" where it has none.
std::pair<std::string, std::string> splitClasses(llvm::StringRef text);
/// What it says.
Expected<frontend::ClassLabels> parseClasses(llvm::StringRef text);

} // namespace plait::driver
