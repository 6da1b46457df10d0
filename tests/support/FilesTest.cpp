// Mapped files, positioned output and the directory that appears at once or not at all.
#include "support/AtomicOutput.h"
#include "support/MappedFile.h"
#include "support/NewFile.h"
#include "support/OutputFile.h"
#include "support/Parallel.h"
#include "support/Unfinished.h"
#include "tests/FolderTest.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <atomic>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>

using namespace plait;
namespace fs = llvm::sys::fs;
using testing::HasSubstr;

namespace {

class Files : public FolderTest {
protected:
  void put(llvm::StringRef name, llvm::StringRef text) {
    llvm::cantFail(writeNewFile(at(name), text, /*flush=*/false));
  }
  std::string get(llvm::StringRef name) const {
    auto buffer = llvm::MemoryBuffer::getFile(at(name));
    return buffer ? (*buffer)->getBuffer().str() : "<missing>";
  }
  std::vector<std::string> list() const {
    std::vector<std::string> names;
    std::error_code ec;
    for (fs::directory_iterator it(folder, ec), end; it != end && !ec; it.increment(ec))
      names.push_back(llvm::sys::path::filename(it->path()).str());
    llvm::sort(names);
    return names;
  }
};

TEST_F(Files, MapsAndReleases) {
  std::string text(100000, 'x');
  text[99999] = 'y';
  put("a", text);
  auto file = llvm::cantFail(MappedFile::open(at("a")));
  EXPECT_EQ(llvm::toStringRef(file->bytes()), text);
  file->release(file->bytes());
  file->release(file->bytes().slice(5000, 50000));
  EXPECT_EQ(llvm::toStringRef(file->bytes()), text);
  uint8_t elsewhere[4] = {1, 2, 3, 4};
  file->release(elsewhere);
  EXPECT_EQ(elsewhere[3], 4);
}

TEST_F(Files, MapsAnEmptyFile) {
  put("empty", "");
  auto file = llvm::cantFail(MappedFile::open(at("empty")));
  EXPECT_TRUE(file->bytes().empty());
}

TEST_F(Files, MappingReportsWhatIsWrong) {
  EXPECT_THAT(llvm::toString(MappedFile::open(at("none")).takeError()), HasSubstr("No such file"));
  EXPECT_THAT(llvm::toString(MappedFile::open(folder).takeError()),
              HasSubstr("not a regular file"));
}

TEST_F(Files, WritesAtOffsets) {
  OutputFile file = llvm::cantFail(OutputFile::create(at("out")));
  llvm::cantFail(file.writeAt(4, "efgh"));
  llvm::cantFail(file.writeAt(0, "abcd"));
  llvm::cantFail(file.resize(6));
  llvm::cantFail(file.close());
  EXPECT_EQ(get("out"), "abcdef");
  EXPECT_THAT(llvm::toString(OutputFile::create(at("no/such/out")).takeError()),
              HasSubstr("No such file"));
  EXPECT_THAT(llvm::toString(OutputFile::openExisting(at("new")).takeError()),
              HasSubstr("No such file"));
}

TEST_F(Files, FullDiskIsAnError) {
  if (!fs::exists("/dev/full"))
    GTEST_SKIP() << "this system has no /dev/full";
  OutputFile file = llvm::cantFail(OutputFile::openExisting("/dev/full"));
  EXPECT_THAT(llvm::toString(file.writeAt(0, "x")), HasSubstr("No space left"));
}

TEST_F(Files, DirectoryAppearsWhenCommitted) {
  auto directory = llvm::cantFail(AtomicDirectory::create(at("new.pkg/")));
  put(llvm::sys::path::filename(directory.path()).str() + "/file", "1");
  EXPECT_FALSE(fs::exists(at("new.pkg")));
  llvm::cantFail(directory.commit(/*flush=*/true));
  EXPECT_EQ(get("new.pkg/file"), "1");
  EXPECT_EQ(list(), std::vector<std::string>{"new.pkg"});
}

TEST_F(Files, DirectoryReplacesAnOlderOne) {
  ASSERT_FALSE(fs::create_directory(at("p")));
  put("p/old", "old");
  ASSERT_FALSE(fs::create_link(at("p"), at("link")));
  auto directory = llvm::cantFail(AtomicDirectory::create(at("link")));
  put(llvm::sys::path::filename(directory.path()).str() + "/file", "new");
  llvm::cantFail(directory.commit(/*flush=*/false));
  EXPECT_EQ(get("p/file"), "new");
  EXPECT_EQ(get("link/file"), "new");
  EXPECT_FALSE(fs::exists(at("p/old")));
  EXPECT_EQ(list(), (std::vector<std::string>{"link", "p"}));
}

TEST_F(Files, AbandonedDirectoryLeavesTheTargetAlone) {
  ASSERT_FALSE(fs::create_directory(at("p")));
  put("p/old", "old");
  {
    auto directory = llvm::cantFail(AtomicDirectory::create(at("p")));
    put(llvm::sys::path::filename(directory.path()).str() + "/file", "half");
    AtomicDirectory moved = std::move(directory);
  }
  EXPECT_EQ(get("p/old"), "old");
  EXPECT_EQ(list(), std::vector<std::string>{"p"});
}

TEST_F(Files, WhatIsUnfinishedIsRemovedBeforeASignalEndsTheProcess) {
  ASSERT_FALSE(fs::create_directory(at("p")));
  put("p/old", "old");
  auto finished = llvm::cantFail(AtomicDirectory::create(at("q")));
  llvm::cantFail(finished.commit(/*flush=*/false));
  auto directory = llvm::cantFail(AtomicDirectory::create(at("p")));
  put(llvm::sys::path::filename(directory.path()).str() + "/file", "half");
  ASSERT_FALSE(Unfinished::begin(at("loose"), [&] {
    llvm::cantFail(llvm::cantFail(OutputFile::create(at("loose"))).writeAt(0, "half"));
    return std::error_code();
  }));
  std::ignore = Unfinished::removeAll();
  EXPECT_EQ(get("p/old"), "old");
  EXPECT_EQ(list(), (std::vector<std::string>{"p", "q"}));
  EXPECT_THAT(llvm::toString(directory.commit(/*flush=*/false)), HasSubstr("in place"));
  EXPECT_EQ(get("p/old"), "old");
}

TEST_F(Files, NothingHalfRemovedIsPutInPlace) {
  ASSERT_FALSE(fs::create_directory(at("p")));
  put("p/old", "old");
  for (int round = 0; round < 20; ++round) {
    auto directory = llvm::cantFail(AtomicDirectory::create(at("p")));
    std::string inside = llvm::sys::path::filename(directory.path()).str();
    for (const char *name : {"/a", "/b", "/c", "/d"})
      put(inside + name, "new");
    std::thread interrupt([] { std::ignore = Unfinished::removeAll(); });
    bool committed = !errorToBool(directory.commit(/*flush=*/false));
    interrupt.join();
    std::string all = get("p/a") + get("p/b") + get("p/c") + get("p/d");
    EXPECT_TRUE(committed ? all == "newnewnewnew" : get("p/old") == "old" || all == "newnewnewnew")
        << all;
  }
}

TEST_F(Files, DirectoryNeedsItsParentAndAName) {
  EXPECT_THAT(llvm::toString(AtomicDirectory::create(at("no/such.pkg")).takeError()),
              HasSubstr("create it first"));
  EXPECT_THAT(llvm::toString(AtomicDirectory::create("/").takeError()),
              HasSubstr("does not name a new directory"));
}

TEST(ParallelFor, VisitsEachItemOnce) {
  for (unsigned threads : {0u, 1u, 2u, 7u}) {
    std::vector<std::atomic<int>> visits(1000);
    llvm::cantFail(parallelFor(threads, visits.size(), [&](unsigned worker, size_t item) {
      EXPECT_LT(worker, threads ? threads : defaultThreads());
      ++visits[item];
      return Error::success();
    }));
    for (auto &count : visits)
      EXPECT_EQ(count, 1);
  }
  llvm::cantFail(parallelFor(
      4, 0, [](unsigned, size_t) { return makeError(Code::Internal, "never called"); }));
}

TEST(ParallelFor, ReturnsTheFirstFailure) {
  Error error = parallelFor(4, 100, [](unsigned, size_t item) -> Error {
    if (item % 10 == 3)
      return makeError(Code::Internal, "item {0}", item);
    return Error::success();
  });
  EXPECT_EQ(llvm::toString(std::move(error)), "item 3");
}

} // namespace
