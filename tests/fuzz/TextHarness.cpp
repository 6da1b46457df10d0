// The text parser, the verifier and the printer.
#include "tests/fuzz/Harness.h"

#include "mil/Parser.h"
#include "mil/Printer.h"
#include "mil/Verifier.h"

#include "llvm/ADT/StringExtras.h"
#include <cstdio>
#include <cstdlib>

namespace plait::fuzz {

void require(bool condition, const char *message) {
  if (condition)
    return;
  std::fprintf(stderr, "fuzz: %s\n", message);
  std::abort();
}

void text(llvm::ArrayRef<uint8_t> input) {
  mil::ParseOptions parsing;
  parsing.blob = [](llvm::StringRef, uint64_t, const mil::Type &type) -> Expected<mil::TensorData> {
    auto shape = mil::constShape(type.shape());
    if (!shape || mil::numElements(llvm::ArrayRef<int64_t>(*shape)) > 1 << 16)
      return makeError(Code::Internal, "the weight file is shorter");
    return mil::TensorData::splat(type.dtype(), *shape, 1);
  };
  auto program = mil::parseProgram(llvm::toStringRef(input), parsing);
  if (!program) {
    std::string message = llvm::toString(program.takeError());
    require(message.find('^') != std::string::npos, "an error without its place");
    return;
  }
  if (Error error = mil::verify(**program))
    llvm::consumeError(std::move(error));
  else
    mil::checkDeviceProfile(**program);
  mil::PrintOptions printing;
  printing.digests = false;
  std::string printed = mil::toString(**program, printing);
  auto again = mil::parseProgram(printed, parsing);
  if (!again)
    std::fprintf(stderr, "%s\n%s\n", printed.c_str(), llvm::toString(again.takeError()).c_str());
  require(bool(again), "what was printed does not parse");
  require(mil::toString(**again, printing) == printed, "printing is no fixed point");
}

} // namespace plait::fuzz
