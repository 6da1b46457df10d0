// What the commands that read packages share: choosing a function, and the arrays to run it on.
#pragma once

#include "backend/PackageReader.h"
#include "driver/CommandLine.h"
#include "runtime/Runner.h"

namespace plait::driver {

/// The function of that name; without one the default function, or the only one. An error names
/// those there are.
Expected<mil::Function *> findFunction(const mil::Program &program, llvm::StringRef package,
                                       const std::optional<std::string> &name);

/// The input of that name; an error names those there are. States take no arrays.
Expected<const mil::Value *> findInput(const mil::Function &function, llvm::StringRef name);
/// The array as the input's element type, where both are floating-point or both integers that fit.
/// `file` is where messages say that it comes from.
Expected<mil::TensorData> convertArray(mil::TensorData array, const mil::Value &input,
                                       llvm::StringRef file);

/// What `NAME=FILE.npy` gives to an input of the function: the array, converted to the input's
/// element type where both are floating-point or both integers that fit.
Expected<runtime::NamedTensor> readInput(const Option &option, llvm::StringRef given,
                                         const mil::Function &function);
/// The same of every value of `option`.
Expected<std::vector<runtime::NamedTensor>>
readInputs(const Arguments &arguments, const Option &option, const mil::Function &function);

} // namespace plait::driver
