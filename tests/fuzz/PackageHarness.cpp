// The reader of packages, and the writer behind it.
#include "tests/fuzz/TempFolder.h"

#include "backend/Inspect.h"
#include "backend/Manifest.h"
#include "backend/PackageReader.h"
#include "backend/PackageWriter.h"
#include "mil/Parser.h"
#include "mil/Printer.h"
#include "mil/Verifier.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"

namespace plait::fuzz {

/// The text without places in weight files, which writing may change.
static std::string textOf(const mil::Program &program) {
  mil::PrintOptions options;
  options.maxInlineElements = INT64_MAX;
  return mil::toString(program, options);
}

void package(llvm::ArrayRef<uint8_t> input) {
  static const TempFolder folder;
  static const char *const data = "in.mlpackage/Data/com.apple.CoreML/";
  if (input.size() < 4)
    return;
  size_t length = llvm::support::endian::read32le(input.data());
  input = input.drop_front(4);
  length = std::min(length, input.size());
  if (!isPackage(folder.at("in.mlpackage"))) {
    require(!llvm::sys::fs::create_directories(folder.at(data + llvm::Twine("weights"))),
            "no folder for a package");
    folder.write("in.mlpackage/Manifest.json", llvm::arrayRefFromStringRef(makeManifest()));
  }
  folder.write(data + llvm::Twine("model.mlmodel"), input.take_front(length));
  folder.write(data + llvm::Twine("weights/weight.bin"), input.drop_front(length));

  if (auto summary = inspectPackage(folder.at("in.mlpackage")))
    toJson(*summary);
  else
    llvm::consumeError(summary.takeError());
  auto program = readPackage(folder.at("in.mlpackage"));
  if (!program)
    return llvm::consumeError(program.takeError());
  std::string printed = textOf(**program);
  if (Error error = mil::verify(**program))
    return llvm::consumeError(std::move(error));
  mil::checkDeviceProfile(**program);
  auto parsed = mil::parseProgram(printed);
  if (!parsed)
    std::fprintf(stderr, "%s\n%s\n", printed.c_str(), llvm::toString(parsed.takeError()).c_str());
  require(bool(parsed), "the text of a package does not parse");
  if (Error error = writePackage(**program, folder.at("out.mlpackage")))
    return llvm::consumeError(std::move(error)); // not every interface can be stated
  auto again = readPackage(folder.at("out.mlpackage"));
  if (!again)
    std::fprintf(stderr, "%s\n%s\n", printed.c_str(), llvm::toString(again.takeError()).c_str());
  require(bool(again), "what was written does not read");
  std::string written = textOf(**again);
  if (written != printed)
    std::fprintf(stderr, "%s\n---- written\n%s\n", printed.c_str(), written.c_str());
  require(written == printed, "what was written reads as another program");
}

} // namespace plait::fuzz
