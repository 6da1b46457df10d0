// A package that is open in Python.
#pragma once

#include "backend/PackageReader.h"
#include "python/src/Bindings.h"

namespace plait::python {

struct OpenPackage {
  std::string path;
  std::unique_ptr<mil::Program> program;
};

std::shared_ptr<const OpenPackage> openPackage(const std::string &path);

} // namespace plait::python
