// The interface of a model between MIL and Core ML's ModelDescription. Private to the backend.
//
// A plain one-function package states the interface of its function `main` at the top level; every
// other package states those of all functions, and the name of the default one.
#pragma once

#include "backend/InterfaceNotes.h"
#include "support/Error.h"

namespace CoreML::Specification {
class FunctionDescription;
class ModelDescription;
} // namespace CoreML::Specification

namespace plait {

namespace spec = CoreML::Specification;

/// Whether the program is written in the plain form: no default function, one function `main`.
bool isPlain(const mil::Program &program);

/// Fails where the interface of Core ML has no such type, or a state or name is not possible.
Error encodeDescription(const mil::Program &program, spec::ModelDescription &out);

/// The interface of one function of a package that names its functions.
Error encodeFunctionDescription(const mil::Function &function, spec::FunctionDescription &out);

/// Metadata and the default function.
void decodeDescription(const spec::ModelDescription &in, mil::Program &out);

/// The interfaces by function, in the order of the description; `main` for the plain form.
std::vector<spec::FunctionDescription> describedFunctions(const spec::ModelDescription &in);

/// The type of the input `name`, its dynamic dimensions made symbols with the bounds that the
/// description states; `type` where it states nothing. A symbol is called as `notes` say, where all
/// inputs that have it state the same bounds, else `name_0` (for the first dimension).
mil::Type refineInput(const spec::FunctionDescription &in, const InterfaceNotes &notes,
                      llvm::StringRef name, mil::Type type);

/// Fails if the description and the function have different inputs, outputs or states, or differ in
/// the element type or the fixed shape of an array. A description without any interface fits every
/// function.
Error checkInterface(const spec::FunctionDescription &in, const mil::Function &function);

/// What the description says of inputs and outputs beyond their types, into inputInfo, outputInfo
/// and the attribute of default values.
void decodeFeatures(const spec::FunctionDescription &in, mil::Function &out);

} // namespace plait
