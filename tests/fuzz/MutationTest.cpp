// Mutants of adapters' files, archives, arrays and what users write: thousands of each, the same
// ones every run. Bytes change, spans go, come twice or change places, and numbers and words that
// readers stumble over stand in their place.
#include "tests/SourceDir.h"
#include "tests/fuzz/Harness.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include <algorithm>
#include <gtest/gtest.h>
#include <random>

using namespace plait;

namespace {

using Bytes = std::vector<uint8_t>;

constexpr const char *kWords[] = {"-1",
                                  "0",
                                  "1e400",
                                  "9223372036854775807",
                                  "18446744073709551616",
                                  "4611686018427387904",
                                  "null",
                                  "true",
                                  "\"\"",
                                  "[]",
                                  "{}",
                                  "[[[[[[[[",
                                  "{\"a\":",
                                  "\\u0000",
                                  "\"\\ud800",
                                  "(a|a)*b",
                                  "(.*)*",
                                  "(?:a?){64}a{64}",
                                  "[^",
                                  "{1,",
                                  "(?P<",
                                  "data_offsets",
                                  "\"shape\":[",
                                  "F8_E5M2",
                                  "\xff\xfe",
                                  "default",
                                  "lora_A",
                                  "__metadata__",
                                  "]",
                                  "}"};

class Mutator {
public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  Bytes mutate(Bytes bytes) {
    for (unsigned i = 0, count = 1 + below(4); i < count; ++i)
      change(bytes);
    return bytes;
  }

private:
  size_t below(size_t limit) { return limit ? random_() % limit : 0; }

  void change(Bytes &bytes) {
    size_t begin = below(bytes.size() + 1), end = begin + below(1 + below(40));
    end = std::min(end, bytes.size());
    auto at = [&](size_t place) { return bytes.begin() + ptrdiff_t(place); };
    switch (below(6)) {
    case 0:
      if (begin < bytes.size())
        bytes[begin] ^= uint8_t(1u << below(8));
      break;
    case 1:
      bytes.erase(at(begin), at(end));
      break;
    case 2: {
      Bytes span(at(begin), at(end));
      bytes.insert(at(below(bytes.size() + 1)), span.begin(), span.end());
      break;
    }
    case 3: {
      llvm::StringRef word = kWords[below(std::size(kWords))];
      bytes.erase(at(begin), at(end));
      bytes.insert(at(begin), word.begin(), word.end());
      break;
    }
    case 4: { // the length of a safetensors header
      uint64_t length = below(2) ? bytes.size() - below(20) : uint64_t(random_()) << below(40);
      for (size_t i = 0; i < 8 && i < bytes.size(); ++i)
        bytes[i] = uint8_t(length >> (8 * i));
      break;
    }
    default: { // a number
      auto digit =
          std::find_if(at(begin), bytes.end(), [](uint8_t c) { return c >= '0' && c <= '9'; });
      if (digit != bytes.end())
        *digit = uint8_t('0' + below(10));
    }
    }
  }

  std::mt19937 random_;
};

/// A header's length follows the header, so that mutants of it get past the first check.
Bytes withLength(Bytes bytes, size_t data) {
  if (bytes.size() < 8 + data)
    return bytes;
  uint64_t length = bytes.size() - 8 - data;
  for (size_t i = 0; i < 8; ++i)
    bytes[i] = uint8_t(length >> (8 * i));
  return bytes;
}

void run(const char *name, void (*harness)(llvm::ArrayRef<uint8_t>), unsigned mutants) {
  std::string folder = sourcePath("tests/fuzz/corpus/") + name;
  std::vector<std::string> paths;
  std::error_code ec;
  for (llvm::sys::fs::directory_iterator it(folder, ec), end; it != end && !ec; it.increment(ec))
    paths.push_back(it->path());
  ASSERT_FALSE(ec) << ec.message();
  std::sort(paths.begin(), paths.end());
  unsigned seed = 0;
  for (const std::string &path : paths) {
    SCOPED_TRACE(path);
    auto buffer = llvm::MemoryBuffer::getFile(path);
    ASSERT_TRUE(bool(buffer));
    Bytes bytes((*buffer)->getBufferStart(), (*buffer)->getBufferEnd());
    uint64_t length = 0;
    for (size_t i = 8; i-- > 0 && bytes.size() > 8;)
      length = length << 8 | bytes[i];
    size_t data = bytes.size() > 8 && length < bytes.size() - 8 ? bytes.size() - 8 - length : 0;
    Mutator mutator(++seed);
    for (unsigned i = 0; i < mutants; ++i) {
      Bytes mutant = mutator.mutate(bytes);
      harness(mutant);
      harness(withLength(std::move(mutant), data));
    }
  }
}

TEST(Mutants, Safetensors) { run("safetensors", fuzz::safetensors, 2000); }
TEST(Mutants, Config) { run("config", fuzz::config, 2000); }
TEST(Mutants, Pickle) { run("pickle", fuzz::pickle, 2000); }
TEST(Mutants, Archive) { run("archive", fuzz::archive, 2000); }
TEST(Mutants, ExportedProgram) { run("exportedProgram", fuzz::exportedProgram, 1000); }
TEST(Mutants, Npy) { run("npy", fuzz::npy, 500); }
TEST(Mutants, Recipe) { run("recipe", fuzz::recipe, 500); }
TEST(Mutants, Declaration) { run("declaration", fuzz::declaration, 2000); }
TEST(Mutants, Patch) { run("patch", fuzz::patch, 300); }

} // namespace
