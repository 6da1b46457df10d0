// FlexibleShapeInformation, an attribute of a function: what Core ML's text form says of dynamic
// inputs. It is a tuple of
//
//   ("DefaultShapes",    {{input, [sizes]} …})               the shapes without a request
//   ("EnumeratedShapes", {{key, {{input, [sizes]} …}} …})    one of these; the first is the default
//   ("RangeDims",        {{input, [[lower, upper] …]} …})    -1 as upper: no bound
//
// Core ML's keys of enumerated shapes are digests, plait's are numbers. In a program, the bounds of
// the inputs' dimensions and Function::inputInfo say the same; in a package, its description does.
#pragma once

#include "mil/IR.h"

namespace plait::mil {

inline constexpr llvm::StringLiteral flexibleShapesAttribute = "FlexibleShapeInformation";

/// Gives the inputs of `function` what the attribute says: dynamic dimensions become symbols with
/// bounds (`x_0` for the first of input x, where they have no name yet). False where the attribute
/// has another form, or sizes that do not fit the inputs; nothing is changed then.
bool applyFlexibleShapes(Function &function, const Attr &attribute);

/// The attribute that says what is known of the dynamic inputs of `function`; nullopt where nothing
/// is.
std::optional<Attr> flexibleShapes(const Function &function);

} // namespace plait::mil
