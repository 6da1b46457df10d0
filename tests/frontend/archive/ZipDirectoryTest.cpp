// Zip directories: what is read from good files, and that no bad file gets past the checks.
#include "frontend/archive/ZipDirectory.h"
#include "TestZip.h"
#include "gmock/gmock.h"

using namespace plait;
using namespace plait::test;

namespace {

TestZip threeRecords() {
  TestZip zip;
  zip.records = {{.name = "m/a", .data = "first"},
                 {.name = "m/b", .data = std::string(300, 'x')},
                 {.name = "m/empty", .data = ""}};
  return zip;
}

/// The error of reading `zip`, or "" if there is none.
std::string errorOf(const TestZip &zip) {
  std::string bytes = zip.build();
  auto directory = ZipDirectory::read(bytes);
  return directory ? "" : llvm::toString(directory.takeError());
}

/// Reads `bytes` and touches all that the result refers to.
void readEverything(llvm::StringRef bytes) {
  auto directory = ZipDirectory::read(bytes);
  if (!directory) {
    EXPECT_NE(llvm::toString(directory.takeError()), "");
    return;
  }
  for (const ZipRecord &record : directory->records()) {
    ASSERT_LE(record.offset, bytes.size());
    ASSERT_LE(record.packedSize, bytes.size() - record.offset);
    EXPECT_EQ(directory->find(record.name)->offset, record.offset);
  }
}

TEST(ZipDirectory, FindsRecords) {
  for (bool zip64 : {false, true}) {
    TestZip zip = threeRecords();
    zip.zip64 = zip64;
    std::string bytes = zip.build();
    EXPECT_TRUE(ZipDirectory::looksLikeZip(bytes));
    auto directory = ZipDirectory::read(bytes);
    ASSERT_TRUE(static_cast<bool>(directory)) << llvm::toString(directory.takeError());
    ASSERT_EQ(directory->records().size(), 3u);
    EXPECT_EQ(directory->find("m/c"), nullptr);
    for (const TestRecord &expected : zip.records) {
      const ZipRecord *record = directory->find(expected.name);
      ASSERT_NE(record, nullptr);
      EXPECT_EQ(record->offset % 64, 0u);
      EXPECT_EQ(bytes.substr(record->offset, record->size), expected.data);
      EXPECT_EQ(record->crc32, llvm::crc32(llvm::arrayRefFromStringRef(expected.data)));
      EXPECT_FALSE(record->compressed);
    }
  }
}

TEST(ZipDirectory, FindsTheRecordOfAnOffset) {
  std::string bytes = threeRecords().build();
  auto directory = ZipDirectory::read(bytes);
  ASSERT_TRUE(static_cast<bool>(directory));
  const ZipRecord *b = directory->find("m/b");
  EXPECT_EQ(directory->storedRecordAt(b->offset), b);
  EXPECT_EQ(directory->storedRecordAt(b->offset + 299), b);
  EXPECT_EQ(directory->storedRecordAt(b->offset + 300), nullptr);
  EXPECT_EQ(directory->storedRecordAt(b->offset - 1), nullptr);
  EXPECT_EQ(directory->storedRecordAt(0), nullptr);
  EXPECT_EQ(directory->storedRecordAt(~0ull), nullptr);
}

TEST(ZipDirectory, AcceptsACommentThatLooksLikeAnEnd) {
  std::string bytes = threeRecords().build();
  std::string comment = "PK\5\6" + std::string(30, '\1');
  bytes[bytes.size() - 2] = static_cast<char>(comment.size());
  auto directory = ZipDirectory::read(bytes += comment);
  ASSERT_TRUE(static_cast<bool>(directory)) << llvm::toString(directory.takeError());
  EXPECT_EQ(directory->records().size(), 3u);
}

TEST(ZipDirectory, RefusesWhatLies) {
  auto changed = [](auto change) {
    TestZip zip = threeRecords();
    zip.zip64 = true;
    change(zip);
    return errorOf(zip);
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(changed([](TestZip &z) { z.records[1].packedSize = z.records[1].size = 1u << 30; }),
              HasSubstr("reach out of the file's data"));
  EXPECT_THAT(changed([](TestZip &z) { z.records[1].packedSize = z.records[1].size = ~0ull; }),
              HasSubstr("reach out of the file's data"));
  EXPECT_THAT(changed([](TestZip &z) { z.records[1].size = 299; }), HasSubstr("cannot hold"));
  EXPECT_THAT(changed([](TestZip &z) {
                z.records[1].method = 8;
                z.records[1].size = 1 << 30;
              }),
              HasSubstr("cannot hold"));
  EXPECT_THAT(changed([](TestZip &z) { z.records[1].headerOffset = ~0ull - 10; }),
              HasSubstr("outside of the file's data"));
  EXPECT_THAT(changed([](TestZip &z) { z.records[1].headerOffset = 3; }),
              HasSubstr("no record header"));
  EXPECT_THAT(changed([](TestZip &z) { z.records[1].headerOffset = 0; }),
              HasSubstr("another name"));
  EXPECT_THAT(changed([](TestZip &z) { z.records[0].packedSize = z.records[0].size = 200; }),
              HasSubstr("overlap"));
  EXPECT_THAT(changed([](TestZip &z) { z.records[1].localName = "m/q"; }),
              HasSubstr("another name"));
  EXPECT_THAT(changed([](TestZip &z) { z.records[1].name = "m/a"; }), HasSubstr("two records"));
  EXPECT_THAT(changed([](TestZip &z) { z.records[1].name = ""; }), HasSubstr("usable name"));
  EXPECT_THAT(changed([](TestZip &z) { z.records[1].flags = 1; }), HasSubstr("encrypted"));
  EXPECT_THAT(changed([](TestZip &z) { z.records[1].method = 14; }), HasSubstr("method 14"));
  EXPECT_THAT(changed([](TestZip &z) { z.entries = 1ull << 60; }), HasSubstr("claims"));
  EXPECT_THAT(changed([](TestZip &z) { z.entries = 4; }), HasSubstr("damaged"));
  EXPECT_THAT(changed([](TestZip &z) { z.directorySize = 1ull << 63; }),
              HasSubstr("out of the file"));
  EXPECT_THAT(changed([](TestZip &z) { z.directoryOffset = ~0ull; }), HasSubstr("out of the file"));
  EXPECT_THAT(changed([](TestZip &z) { z.directoryOffset = 1; }), HasSubstr("damaged"));
}

TEST(ZipDirectory, RefusesEveryTruncation) {
  std::string bytes = threeRecords().build();
  for (size_t size = 0; size != bytes.size(); ++size) {
    auto directory = ZipDirectory::read(llvm::StringRef(bytes).take_front(size));
    EXPECT_TRUE(llvm::errorToBool(directory.takeError())) << "with " << size << " bytes";
  }
}

TEST(ZipDirectory, SurvivesEveryFlippedByte) {
  for (bool zip64 : {false, true}) {
    TestZip zip = threeRecords();
    zip.zip64 = zip64;
    std::string bytes = zip.build();
    for (size_t i = 0; i != bytes.size(); ++i)
      for (int flip : {0x01, 0x80, 0xff}) {
        std::string bad = bytes;
        bad[i] ^= flip;
        readEverything(bad);
      }
  }
}

} // namespace
