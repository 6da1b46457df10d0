// What plait knows of a function's interface and Core ML's description has no place for. It stands
// in the package's user-defined metadata, a text for each function that has any:
//
//   plait.interface.main =
//   {"constants":{"scale":"2.0"},"sizes":{"mask":["","2*n + 1"],"tokens":["","n"]}}
//
// sizes:     the name of each dimension of an input, or how it follows from others
//            (mil/SizeExpression.h), "" where it has neither. Dimensions of one name are one size:
//            the program's symbols (mil/SizeNames.h).
// constants: arguments of the model that are no inputs (mil/ConstantArguments.h).
// handed_on: inputs that the app hands on from call to call, and the outputs that they come from
//            (the same).
//
// Private to the backend.
#pragma once

#include "mil/IR.h"

#include <map>

namespace CoreML::Specification {
class Metadata;
} // namespace CoreML::Specification

namespace plait {

struct InterfaceNotes {
  std::map<std::string, std::vector<std::string>, std::less<>> sizes;
  std::map<std::string, std::string> constants, handedOn;
};

/// Into the metadata, where there is anything.
void encodeNotes(const mil::Function &function, CoreML::Specification::Metadata &out);
/// Nothing where there are none, or what stands there is damaged.
InterfaceNotes decodeNotes(const CoreML::Specification::Metadata &in, llvm::StringRef function);
void eraseNotes(llvm::StringRef function, CoreML::Specification::Metadata &from);
/// Whether a key of the metadata is one of these.
bool isNotesKey(llvm::StringRef key);

} // namespace plait
