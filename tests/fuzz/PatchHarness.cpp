// Applying patches to a package that is always the same.
#include "tests/fuzz/TempFolder.h"

#include "backend/Manifest.h"
#include "driver/patch/Patch.h"
#include "driver/patch/PatchFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MemoryBuffer.h"

namespace plait::fuzz {

static std::string contentsOf(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  return buffer ? (*buffer)->getBuffer().str() : "";
}

void patch(llvm::ArrayRef<uint8_t> input) {
  static const TempFolder folder;
  static const std::string base = folder.at("base.mlpackage"), out = folder.at("out.mlpackage");
  static const std::string model = base + "/Data/com.apple.CoreML/model.mlmodel";
  static std::string text;
  if (text.empty()) {
    require(!llvm::sys::fs::create_directories(base + "/Data/com.apple.CoreML"), "no folder");
    for (unsigned i = 0; i < 500; ++i)
      text += fmt::format("line {0} of the model\n", i * i);
    folder.write("base.mlpackage/Manifest.json", llvm::arrayRefFromStringRef(makeManifest()));
    folder.write("base.mlpackage/Data/com.apple.CoreML/model.mlmodel",
                 llvm::arrayRefFromStringRef(text));
  }
  // A size that is wrong is found at once; what lies behind it is to be read.
  std::vector<uint8_t> bytes = input.vec();
  if (bytes.size() >= driver::patchHeaderBytes)
    llvm::support::endian::write64le(&bytes[driver::PatchWriter::sizePlace], bytes.size());
  folder.write("in.plaitpatch", bytes);

  auto report = driver::applyPatch(base, folder.at("in.plaitpatch"), out);
  require(contentsOf(model) == text, "a patch changed what it was not to change");
  if (!report) {
    llvm::consumeError(report.takeError());
    require(!llvm::sys::fs::exists(out), "a patch that was refused left something behind");
    return;
  }
  auto reader = llvm::cantFail(driver::PatchReader::open(bytes));
  auto files = driver::listPackage(out);
  require(bool(files), "what a patch made is no folder of files");
  require(driver::differenceOf(*files, reader.result()).empty(),
          "a patch made other files than it says");
  for (const driver::PackageFile &file : reader.result())
    if (file.hasContents())
      require(driver::digestOf(llvm::arrayRefFromStringRef(
                  contentsOf(driver::placeOf(file, out)))) == file.digest,
              "a patch made other contents than it says");
  llvm::sys::fs::remove_directories(out);
  llvm::sys::fs::remove(folder.at("out.adapter.json"));
}

} // namespace plait::fuzz
