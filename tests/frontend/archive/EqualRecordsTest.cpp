// Records of several files beside one another.
#include "frontend/archive/EqualRecords.h"
#include "TestZip.h"
#include "frontend/archive/ZipDirectory.h"

using namespace plait;
using namespace plait::test;

namespace {

class EqualRecordsTest : public TemporaryFolder {
protected:
  /// The file, and where the record `name` begins in it.
  struct Place {
    llvm::sys::fs::UniqueID file;
    uint64_t offset;
  };

  std::string zip(llvm::StringRef name, std::vector<TestRecord> records) {
    TestZip zip;
    zip.records = std::move(records);
    return write(name, zip.build());
  }
  static Place find(const std::string &path, llvm::StringRef name) {
    auto file = llvm::cantFail(MappedFile::open(path));
    auto directory = llvm::cantFail(ZipDirectory::read(llvm::toStringRef(file->bytes())));
    return {file->id(), directory.find(name)->offset};
  }
  static mil::Storage storage(const EqualRecords &records, Place place) {
    mil::Storage storage;
    storage.likeness = records.likeness(place.file, place.offset);
    return storage;
  }
  /// Until the whole of a record is compared.
  static void wait(const mil::Storage &storage, uint64_t size) {
    while (storage.likeness->equal < size)
      std::this_thread::yield();
  }

  std::string large = std::string(1000000, 'w');
};

TEST_F(EqualRecordsTest, EqualRecordsOfSeveralFilesAreFound) {
  std::string other = large;
  other.back() = 'x';
  std::string a = zip("a", {{"m/0", large}, {"m/1", other}});
  std::string b = zip("b", {{"m/first", other}, {"m/0", large}});
  EqualRecords records({a, b, a});
  mil::Storage one = storage(records, find(a, "m/0")), same = storage(records, find(b, "m/0"));
  mil::Storage two = storage(records, find(a, "m/1"));
  ASSERT_TRUE(one.likeness && same.likeness && two.likeness);
  wait(same, large.size());
  EXPECT_TRUE(one.knownEqual(same, 0, large.size()));
  EXPECT_TRUE(same.knownEqual(one, 10, 20));
  EXPECT_FALSE(one.knownEqual(same, 1, large.size())); // there is no such byte
  EXPECT_FALSE(one.knownEqual(two, 0, 1));
}

TEST_F(EqualRecordsTest, AChecksumAloneProvesNothing) {
  std::string other = large;
  other[700000] = 'x';
  std::string a = zip("a", {{.name = "m/0", .data = large, .crc32 = 1}});
  std::string b = zip("b", {{.name = "m/0", .data = other, .crc32 = 1}});
  std::string c = zip("c", {{.name = "m/0", .data = large, .crc32 = 1}});
  EqualRecords records({a, b, c});
  mil::Storage one = storage(records, find(a, "m/0")), differs = storage(records, find(b, "m/0"));
  mil::Storage same = storage(records, find(c, "m/0"));
  wait(same, large.size());
  records.stop();
  EXPECT_TRUE(one.knownEqual(same, 0, large.size()));
  EXPECT_FALSE(one.knownEqual(differs, 0, large.size()));
  EXPECT_FALSE(differs.knownEqual(same, 700000, 1));
  EXPECT_TRUE(one.knownEqual(differs, 0, 500000)); // as far as they are
}

TEST_F(EqualRecordsTest, WhatIsLikeNoOtherIsLeftAlone) {
  std::string a = zip("a", {{"m/0", large}, {"m/1", "short"}});
  std::string b = zip("b", {{"m/0", large + large}, {"m/1", "short"}});
  EqualRecords records({a, b, write("text", "no archive"), pathOf("none")});
  for (const std::string &path : {a, b})
    for (const char *name : {"m/0", "m/1"})
      EXPECT_FALSE(storage(records, find(path, name)).likeness) << path << name;
}

TEST_F(EqualRecordsTest, EndsWhenItIsToldTo) {
  std::vector<std::string> paths;
  for (int i = 0; i < 4; ++i)
    paths.push_back(zip("f" + std::to_string(i), {{"m/0", large}}));
  for (int i = 0; i < 20; ++i) {
    EqualRecords records(paths);
    if (i % 2)
      records.stop();
  }
}

} // namespace
