// Where the checkout is that the tests were built from: goldens, corpora and tables are read from
// it.
#pragma once

#include <string>

namespace plait {

extern const char *const sourceDir; // defined in a file that CMake makes

/// `sourcePath("tests/golden")` is the path of that file or folder of the checkout.
inline std::string sourcePath(const std::string &relative) {
  return std::string(sourceDir) + "/" + relative;
}

} // namespace plait
