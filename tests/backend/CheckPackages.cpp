// Reads packages, one path a line of the standard input, and answers each with a line: "ok" where
// the package can be read and its program is well-formed, or else the first line of what is wrong.
// One process for many packages, for the test of mutants (tests/python/test_mutants.py).
#include "backend/PackageReader.h"
#include "mil/Verifier.h"

#include <iostream>

using namespace plait;

static Error check(const std::string &path) {
  auto program = readPackage(path);
  if (!program)
    return program.takeError();
  return mil::verify(**program);
}

int main() {
  std::string path;
  while (std::getline(std::cin, path)) {
    std::string message = llvm::toString(check(path));
    std::cout << (message.empty() ? "ok" : llvm::StringRef(message).split('\n').first.str())
              << std::endl;
  }
}
