// The corpus through the harnesses: seeds, and inputs that once broke something.
#include "tests/SourceDir.h"
#include "tests/fuzz/Harness.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include <gtest/gtest.h>

using namespace plait;

namespace {

void replay(const char *name, void (*harness)(llvm::ArrayRef<uint8_t>)) {
  std::string folder = sourcePath("tests/fuzz/corpus/") + name;
  unsigned count = 0;
  std::error_code ec;
  for (llvm::sys::fs::directory_iterator it(folder, ec), end; it != end && !ec; it.increment(ec)) {
    SCOPED_TRACE(it->path());
    auto buffer = llvm::MemoryBuffer::getFile(it->path());
    ASSERT_TRUE(bool(buffer));
    llvm::ArrayRef<uint8_t> bytes(reinterpret_cast<const uint8_t *>((*buffer)->getBufferStart()),
                                  (*buffer)->getBufferSize());
    harness(bytes);
    // A few more that a fuzzer begins with: cut short, and with one byte changed.
    for (size_t part = 1; part < 8; ++part) {
      harness(bytes.take_front(bytes.size() * part / 8));
      std::vector<uint8_t> changed = bytes.vec();
      if (!changed.empty())
        changed[changed.size() * part / 8] ^= uint8_t(0x11 * part);
      harness(changed);
    }
    ++count;
  }
  EXPECT_FALSE(ec) << ec.message();
  EXPECT_GT(count, 4u);
}

TEST(Corpus, Text) { replay("text", fuzz::text); }
TEST(Corpus, Package) { replay("package", fuzz::package); }
TEST(Corpus, Weights) { replay("weights", fuzz::weights); }
TEST(Corpus, Safetensors) { replay("safetensors", fuzz::safetensors); }
TEST(Corpus, Config) { replay("config", fuzz::config); }
TEST(Corpus, Pickle) { replay("pickle", fuzz::pickle); }
TEST(Corpus, Archive) { replay("archive", fuzz::archive); }
TEST(Corpus, ExportedProgram) { replay("exportedProgram", fuzz::exportedProgram); }
TEST(Corpus, Npy) { replay("npy", fuzz::npy); }
TEST(Corpus, Recipe) { replay("recipe", fuzz::recipe); }
TEST(Corpus, Declaration) { replay("declaration", fuzz::declaration); }
TEST(Corpus, Patch) { replay("patch", fuzz::patch); }

} // namespace
