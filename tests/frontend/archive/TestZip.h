// Zip files made by hand for the tests of the readers: any field can be made to lie.
#pragma once

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/CRC.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"

#include <optional>
#include <string>
#include <vector>

namespace plait::test {

inline void put(std::string &out, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i != bytes; ++i)
    out += i < sizeof(value) ? static_cast<char>(value >> (8 * i)) : '\0';
}

struct TestRecord {
  std::string name = {}, data = {};
  // In place of the true ones:
  std::optional<uint64_t> size = {}, packedSize = {}, headerOffset = {};
  std::optional<std::string> localName = {};
  std::optional<uint32_t> crc32 = {};
  uint16_t method = 0, flags = 0;
};

struct TestZip {
  std::vector<TestRecord> records = {};
  bool zip64 = false;
  unsigned alignment = 64; ///< Of the data.
  std::optional<uint64_t> entries = {}, directorySize = {}, directoryOffset = {};

  std::string build() const {
    std::string out;
    std::vector<uint64_t> offsets;
    for (const TestRecord &record : records) {
      offsets.push_back(out.size());
      std::string name = record.localName.value_or(record.name);
      uint64_t padding =
          llvm::offsetToAlignment(out.size() + 30 + name.size() + 4, llvm::Align(alignment));
      put(out, 0x04034b50, 4);
      for (uint16_t field : {20, int(record.flags), int(record.method), 0, 0})
        put(out, field, 2);
      put(out, 0, 12);
      put(out, name.size(), 2);
      put(out, padding + 4, 2);
      out += name;
      put(out, 0x4246, 2);
      put(out, padding, 2);
      out.append(padding, 'Z');
      out += record.data;
    }
    uint64_t directory = out.size();
    for (auto [i, record] : llvm::enumerate(records))
      putEntry(out, record, offsets[i]);
    putEnd(out, directory);
    return out;
  }

private:
  void putEntry(std::string &out, const TestRecord &record, uint64_t headerOffset) const {
    uint64_t size = record.size.value_or(record.data.size()),
             packedSize = record.packedSize.value_or(record.data.size());
    headerOffset = record.headerOffset.value_or(headerOffset);
    put(out, 0x02014b50, 4);
    for (uint16_t field : {20, 20, int(record.flags), int(record.method), 0, 0})
      put(out, field, 2);
    put(out, record.crc32.value_or(llvm::crc32(llvm::arrayRefFromStringRef(record.data))), 4);
    put(out, zip64 ? 0xffffffff : packedSize, 4);
    put(out, zip64 ? 0xffffffff : size, 4);
    put(out, record.name.size(), 2);
    put(out, zip64 ? 28 : 0, 2);
    put(out, 0, 10);
    put(out, zip64 ? 0xffffffff : headerOffset, 4);
    out += record.name;
    if (zip64) {
      put(out, 1, 2);
      put(out, 24, 2);
      for (uint64_t field : {size, packedSize, headerOffset})
        put(out, field, 8);
    }
  }

  void putEnd(std::string &out, uint64_t directory) const {
    uint64_t end = out.size(), count = entries.value_or(records.size()),
             size = directorySize.value_or(end - directory),
             offset = directoryOffset.value_or(directory);
    if (zip64) {
      put(out, 0x06064b50, 4);
      put(out, 44, 8);
      put(out, 0, 12);
      for (uint64_t field : {count, count, size, offset})
        put(out, field, 8);
      put(out, 0x07064b50, 4);
      put(out, 0, 4);
      put(out, end, 8);
      put(out, 1, 4);
    }
    put(out, 0x06054b50, 4);
    put(out, 0, 4);
    put(out, zip64 ? 0xffff : count, 2);
    put(out, zip64 ? 0xffff : count, 2);
    put(out, zip64 ? 0xffffffff : size, 4);
    put(out, zip64 ? 0xffffffff : offset, 4);
    put(out, 0, 2);
  }
};

/// A folder that goes away with the test.
class TemporaryFolder : public ::testing::Test {
protected:
  void SetUp() override { ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("plait", folder)); }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }

  std::string pathOf(llvm::StringRef name) const {
    llvm::SmallString<256> path(folder);
    llvm::sys::path::append(path, name);
    return path.str().str();
  }

  std::string write(llvm::StringRef name, llvm::StringRef bytes) const {
    std::string path = pathOf(name);
    std::error_code code;
    llvm::raw_fd_ostream(path, code) << bytes;
    EXPECT_FALSE(code) << code.message();
    return path;
  }

  static std::string bytesOf(const std::string &path) {
    auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                              /*RequiresNullTerminator=*/false);
    EXPECT_TRUE(buffer) << path;
    return buffer ? (*buffer)->getBuffer().str() : std::string();
  }

  llvm::SmallString<256> folder;
};

} // namespace plait::test
