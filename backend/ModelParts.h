// The outer levels of a model file, walked by hand, so that its functions can be read, and copied
// from file to file, one at a time. Private to the backend.
//
//   Model   := specificationVersion:1 description:2 mlProgram:502 other*
//   Program := version:1 functions:2* attributes:4* other*
//   functions, attributes := key:1 value:2                                      (map entries)
#pragma once

#include "mil/Opset.h"
#include "support/Error.h"
#include "llvm/ADT/StringRef.h"

#include <vector>

namespace plait {

/// Slices of a model file.
struct ModelParts {
  struct Function {
    std::string name;
    llvm::StringRef message; ///< a serialised MILSpec.Function
    llvm::StringRef field;   ///< the whole field of Program that holds it
  };

  int64_t specificationVersion = 0;
  std::string description; ///< a serialised ModelDescription
  int64_t programVersion = 0;
  std::vector<Function> functions;         ///< in the order of the file
  std::vector<llvm::StringRef> attributes; ///< map entries
  bool hasProgram = false;
  unsigned otherKind = 0;   ///< the field of another kind of model
  std::string otherModel;   ///< whole fields of Model that are none of the above
  std::string otherProgram; ///< whole fields of Program but its version and functions
};

/// Which opset the function says that it is of.
Expected<mil::Opset> opsetOf(const ModelParts::Function &function);

/// Splits a model file; fails where it is damaged, or no mlprogram of a specification version that
/// is supported.
Expected<ModelParts> splitModel(llvm::StringRef bytes);

} // namespace plait
