// --print-after and --verify-each: looking at a program while passes run over it. `plait compile`,
// `add` and `opt` take both.
#pragma once

#include "driver/CommandLine.h"
#include "passes/Pipeline.h"

namespace plait::driver {

extern const Option printAfterOption;
extern const Option verifyEachOption;

/// What the two options ask for. `print` writes a program to the standard output.
Expected<passes::PipelineHooks> passHooks(const Arguments &arguments,
                                          std::function<void(const mil::Program &)> print);

/// Prints a text for people that needs no weight file: constants of more than 64 elements become
/// stand-ins of the same shape (mil/StandIn.h).
void printWithStandIns(const mil::Program &program, llvm::raw_ostream &out);

} // namespace plait::driver
