// What is said of a compiled program that is well-formed and may not be what is wanted.
#pragma once

#include "driver/Compiler.h"

#include "backend/PackageWriter.h"

namespace plait::driver {

/// Results that depend on no input, of a function as it was lowered: passes make constants depend
/// on inputs where Core ML wants it.
void warnOfConstantResults(const mil::Function &function, CompileObserver &observer);

/// Functions that only read what another one keeps as a state read what the model holds, for ever.
void warnOfFrozenStates(const mil::Program &program, const CompileOptions &options,
                        CompileObserver &observer);

/// Weights that are no finite numbers: one warning a blob, for the first constant that it holds,
/// and one for each constant of `program`, which was written, that is too small for a blob.
Error warnOfWeights(const mil::Program &program, const WriteReport &written,
                    mil::Evaluator *evaluator, CompileObserver &observer);

} // namespace plait::driver
