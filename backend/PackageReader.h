// Reads a Core ML package (.mlpackage) into a program. Its model is an mlprogram of specification
// version 6 to 10, from any tool. A compiled model (.mlmodelc) and a text (.mil) are read likewise;
// see TextModel.h.
//
// Weights stay in the mapped weight file. Nothing in a package is trusted: what does not fit is an
// error. What is not known (metadata of other tools, fields of later versions) is kept in the
// program and written back.
#pragma once

#include "mil/IR.h"
#include "support/Error.h"

#include <map>
#include <set>

namespace plait {

class WeightFile;

/// A program and the weight files that its constants view, in order of their paths.
struct Package {
  std::unique_ptr<mil::Program> program;
  std::vector<std::shared_ptr<const WeightFile>> weights;
  /// For each weight file, under its name in the model: the offsets that the model refers to.
  std::map<std::string, std::set<uint64_t>> references;
  int specificationVersion = 0;
};

/// Of whichever of the three kinds `path` is.
Expected<Package> openPackage(llvm::StringRef path);

/// The opset of a package's functions, found without reading them.
Expected<mil::Opset> packageOpset(llvm::StringRef path);

/// The program alone; its constants keep the files alive.
Expected<std::unique_ptr<mil::Program>> readPackage(llvm::StringRef path);

} // namespace plait
