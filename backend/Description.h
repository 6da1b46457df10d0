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

/// Axes of an image, [1, channels, height, width].
inline constexpr unsigned kHeight = 2, kWidth = 3;

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

/// Sizes by the name of an input and the number of a dimension.
using SizesByInput = std::map<std::pair<std::string, size_t>, mil::Dim>;

/// What `notes` say of sizes, where all inputs that have the same symbols state bounds that agree.
SizesByInput notedSizes(const spec::FunctionDescription &in, const InterfaceNotes &notes);

/// The type of the input `name`, its dynamic dimensions given the noted sizes, or made symbols
/// `name_0` (for the first dimension) with the bounds that the description states; `type` where it
/// states nothing.
mil::Type refineInput(const spec::FunctionDescription &in, const SizesByInput &sizes,
                      llvm::StringRef name, mil::Type type);

/// Fails if the description and the function have different inputs, outputs or states, or differ in
/// the element type or the fixed shape of an array. A description without any interface fits every
/// function.
Error checkInterface(const spec::FunctionDescription &in, const mil::Function &function);

/// What the description says of inputs and outputs beyond their types, into inputInfo, outputInfo
/// and the attribute of default values.
void decodeFeatures(const spec::FunctionDescription &in, mil::Function &out);

} // namespace plait
