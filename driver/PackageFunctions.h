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

/// How operations on fp16 compute, of the commands that run functions.
extern const Option computeOption;
Expected<runtime::Compute> computeOf(const Arguments &arguments);

/// The input of that name; an error names those there are. States take no arrays.
Expected<const mil::Value *> findInput(const mil::Function &function, llvm::StringRef name);
/// The array as the input's element type, where both are floating-point or both integers that fit;
/// of an image, where its numbers are pixels.
/// `file` is where messages say that it comes from.
Expected<mil::TensorData> convertArray(mil::TensorData array, const mil::Value &input,
                                       llvm::StringRef file);

/// What a file gives to an input: an array of NumPy's, or the pixels of a PNG or JPEG where the
/// input is an image, of a size that it takes. `resize` makes another size its default one.
Expected<mil::TensorData> readArray(const mil::Value &input, llvm::StringRef file,
                                    bool resize = false);

/// What `NAME=FILE` gives to an input of the function.
Expected<runtime::NamedTensor> readInput(const Option &option, llvm::StringRef given,
                                         const mil::Function &function, bool resize = false);
/// The same of every value of `option`.
Expected<std::vector<runtime::NamedTensor>> readInputs(const Arguments &arguments,
                                                       const Option &option,
                                                       const mil::Function &function, bool resize);

} // namespace plait::driver
