// What exists for a while only: names that nobody knows, locks that end with their process, and the
// removal of what a killed one left. Copies and folders are tested here too.
#include "support/AtomicOutput.h"
#include "support/FolderLock.h"
#include "support/Folders.h"
#include "support/MappedFile.h"
#include "support/NewFile.h"
#include "support/OutputFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <csignal>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace plait;
namespace fs = llvm::sys::fs;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

class Temporaries : public testing::Test {
protected:
  void SetUp() override { ASSERT_FALSE(fs::createUniqueDirectory("plait-temporary", folder)); }
  void TearDown() override { fs::remove_directories(folder); }

  std::string at(llvm::StringRef name) const { return (folder + "/" + name).str(); }
  void put(llvm::StringRef name, llvm::StringRef text) {
    llvm::cantFail(writeNewFile(at(name), text, /*flush=*/false));
  }
  std::string get(llvm::StringRef name) const {
    auto buffer = llvm::MemoryBuffer::getFile(at(name));
    return buffer ? (*buffer)->getBuffer().str() : "<missing>";
  }
  std::vector<std::string> list(llvm::StringRef inside = "") const {
    std::vector<std::string> names;
    std::error_code ec;
    for (fs::directory_iterator it(at(inside), ec, false), end; it != end && !ec; it.increment(ec))
      names.push_back(llvm::sys::path::filename(it->path()).str());
    llvm::sort(names);
    return names;
  }

  llvm::SmallString<128> folder;
};

/// A process that runs `body`, says so, and lives until it is told to end.
class Child {
public:
  explicit Child(llvm::function_ref<void()> body) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    EXPECT_EQ(::pipe(stop), 0);
    std::fflush(nullptr);
    child = ::fork();
    if (child == 0) {
      ::close(stop[1]);
      body();
      char byte = 0;
      if (::write(ready[1], &byte, 1) != 1 || ::read(stop[0], &byte, 1) != 0)
        ::_exit(1);
      ::_exit(0); // without a destructor
    }
    ::close(ready[1]);
    ::close(stop[0]);
    char byte;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
  }
  ~Child() {
    ::close(stop[1]);
    if (child > 0) {
      EXPECT_EQ(::waitpid(child, nullptr, 0), child);
    }
  }
  void kill() {
    ::kill(child, SIGKILL);
    EXPECT_EQ(::waitpid(child, nullptr, 0), child);
    child = 0;
  }

private:
  int stop[2];
  pid_t child;
};

// ---- Files -------------------------------------------------------------------------------------

TEST_F(Temporaries, WhatIsCreatedIsNewAndNoLinkIsFollowed) {
  put("victim", "whole");
  ASSERT_FALSE(fs::create_link(at("victim"), at("link")));
  ASSERT_FALSE(fs::create_link(at("nothing"), at("dangling")));
  for (const char *name : {"victim", "link", "dangling"})
    EXPECT_THAT(llvm::toString(OutputFile::create(at(name)).takeError()), HasSubstr("File exists"));
  put("link", "new");
  put("dangling", "new");
  EXPECT_EQ(get("victim"), "whole");
  EXPECT_EQ(get("link"), "new");
  EXPECT_THAT(list(), ElementsAre("dangling", "link", "victim"));
  EXPECT_THAT(llvm::toString(NewFile::create(folder).takeError()), HasSubstr("no regular file"));
  EXPECT_THAT(llvm::toString(NewFile::create(at("no/file")).takeError()),
              HasSubstr("No such file"));
}

TEST_F(Temporaries, AFileThatIsNotPutInPlaceLeavesNothing) {
  put("a", "old");
  {
    NewFile file = llvm::cantFail(NewFile::create(at("a")));
    NewFile moved = std::move(file);
    llvm::cantFail(moved.file().writeAt(0, "half"));
    EXPECT_THAT(
        llvm::toString(moved.commit(false, [] { return makeError(Code::Internal, "not yet"); })),
        HasSubstr("not yet"));
    EXPECT_FALSE(moved.isInPlace());
  }
  EXPECT_EQ(get("a"), "old");
  EXPECT_THAT(list(), ElementsAre("a"));
}

TEST_F(Temporaries, WhatAKilledProcessLeftIsCollected) {
  auto leave = [&] {
    auto *file = new NewFile(llvm::cantFail(NewFile::create(at("a"))));
    llvm::cantFail(file->file().writeAt(0, "half"));
    auto *package = new AtomicDirectory(llvm::cantFail(AtomicDirectory::create(at("a"))));
    llvm::cantFail(writeNewFile(package->path().str() + "/inner", "half", false));
  };
  {
    Child ended(leave);
  }
  EXPECT_EQ(list().size(), 2u);
  // What only looks alike.
  for (const char *name : {"b.12345678.plait", ".a.1234567.plait", ".a.1234567x.plait", "a.plait"})
    llvm::cantFail(llvm::cantFail(OutputFile::create(at(name))).close());
  ASSERT_FALSE(fs::create_link(at("a.plait"), at(".a.12345678.plait")));
  Child working(leave);
  collectAbandoned(folder);
  put("a", "new");
  EXPECT_EQ(list().size(), 8u) << "of the living one, and what is none of these";
  working.kill();
  collectAbandoned(folder);
  EXPECT_THAT(list(), ElementsAre(".a.1234567.plait", ".a.12345678.plait", ".a.1234567x.plait", "a",
                                  "a.plait", "b.12345678.plait"));
}

TEST_F(Temporaries, WhatWasMovedAsideStaysWhileNothingElseIsThere) {
  std::string aside = asidePath(at("p"));
  ASSERT_FALSE(fs::create_directory(aside));
  collectAbandoned(folder);
  EXPECT_TRUE(fs::exists(aside));
  ASSERT_FALSE(fs::create_directory(at("p")));
  collectAbandoned(folder);
  EXPECT_FALSE(fs::exists(aside));
}

// ---- Locks -------------------------------------------------------------------------------------

TEST_F(Temporaries, ALockEndsWithItsHolderAndNotWithAForkedChild) {
  auto isFree = [&] {
    auto lock = FolderLock::take(folder);
    return !errorToBool(lock.takeError());
  };
  std::optional<FolderLock> lock(llvm::cantFail(FolderLock::take(folder)));
  EXPECT_FALSE(isFree());
  {
    Child child([] {});
    EXPECT_FALSE(isFree());
    lock.reset();
    EXPECT_TRUE(isFree());
  }
  // The child of a holder that was killed.
  int hold[2], started[2];
  ASSERT_EQ(::pipe(hold), 0);
  ASSERT_EQ(::pipe(started), 0);
  Child holder([&] {
    static FolderLock own = llvm::cantFail(FolderLock::take(folder));
    char byte = 0;
    if (::fork() == 0) {
      ::close(hold[1]);
      bool lives = ::write(started[1], &byte, 1) == 1;
      ::_exit(lives && ::read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    EXPECT_EQ(::read(started[0], &byte, 1), 1);
  });
  EXPECT_FALSE(isFree());
  holder.kill();
  EXPECT_TRUE(isFree());
  for (int end : {hold[0], hold[1], started[0], started[1]})
    ::close(end);
}

// ---- Folders -----------------------------------------------------------------------------------

TEST_F(Temporaries, FoldersAreForWhomTheUmaskLets) {
  mode_t before = ::umask(022);
  EXPECT_FALSE(makeFolders(at("a/b/c")));
  EXPECT_FALSE(makeFolder(at("d")));
  llvm::cantFail(makeFoldersInside(folder, "e/f"));
  ::umask(before);
  for (const char *name : {"a", "a/b", "a/b/c", "d", "e", "e/f"})
    EXPECT_EQ(int(llvm::cantFail(llvm::errorOrToExpected(fs::getPermissions(at(name))))), 0755)
        << name;
  EXPECT_FALSE(makeFolders(at("a/b/c")));
  EXPECT_EQ(makeFolder(at("d")), std::errc::file_exists);
  ASSERT_FALSE(fs::create_link(at("d"), at("link")));
  EXPECT_THAT(llvm::toString(makeFoldersInside(folder, "link/g")), HasSubstr("is a link"));
  EXPECT_TRUE(list("d").empty());
}

TEST_F(Temporaries, ATreeIsCopiedAsItIs) {
  ASSERT_FALSE(makeFolders(at("from/inner")));
  put("from/a", "1");
  put("from/inner/b", std::string(3 << 20, 'b'));
  put("from/kept", "new");
  ASSERT_FALSE(fs::create_link("a", at("from/link")));
  ASSERT_FALSE(fs::create_link("missing", at("from/dangling")));
  ASSERT_FALSE(makeFolder(at("to")));
  put("to/kept", "old");
  put("victim", "whole");
  ASSERT_FALSE(fs::create_link(at("victim"), at("to/a")));
  llvm::cantFail(copyTree(at("from"), at("to")));
  EXPECT_THAT(list("to"), ElementsAre("a", "dangling", "inner", "kept", "link"));
  EXPECT_EQ(get("victim"), "whole");
  EXPECT_EQ(get("to/kept"), "old");
  EXPECT_EQ(get("to/inner/b"), get("from/inner/b"));
  EXPECT_TRUE(fs::is_symlink_file(at("to/link")));
}

TEST_F(Temporaries, APipeIsNeitherCopiedNorMapped) {
  ASSERT_FALSE(makeFolder(at("from")));
  ASSERT_EQ(::mkfifo(at("from/pipe").c_str(), 0600), 0);
  EXPECT_THAT(llvm::toString(copyTree(at("from"), at("to"))),
              HasSubstr("neither a file, a folder nor a link"));
  EXPECT_THAT(llvm::toString(MappedFile::open(at("from/pipe")).takeError()),
              HasSubstr("not a regular file"));
}

// ---- Files that change while they are mapped ---------------------------------------------------

TEST_F(Temporaries, AWrittenFileIsNoticedAndAReplacedOneIsWhatItWas) {
  put("a", "first");
  put("b", "first");
  auto a = llvm::cantFail(MappedFile::open(at("a"))), b = llvm::cantFail(MappedFile::open(at("b")));
  llvm::cantFail(a->checkUnchanged());
  put("a", "second, in its place");
  llvm::cantFail(a->checkUnchanged());
  EXPECT_EQ(llvm::toStringRef(a->bytes()), "first");
  ASSERT_FALSE(fs::remove(at("a")));
  llvm::cantFail(a->checkUnchanged());
  OutputFile file = llvm::cantFail(OutputFile::openExisting(at("b")));
  llvm::cantFail(file.writeAt(0, "other"));
  timespec times[2] = {{0, UTIME_OMIT}, {12345, 0}}; // whatever the clock's grain
  ASSERT_EQ(::utimensat(AT_FDCWD, at("b").c_str(), times, 0), 0);
  EXPECT_THAT(llvm::toString(b->checkUnchanged()), HasSubstr("changed while it was read"));
}

TEST_F(Temporaries, AnAddressLeadsToItsFile) {
  put("a", "first");
  const uint8_t *inside;
  {
    auto a = llvm::cantFail(MappedFile::open(at("a")));
    inside = a->bytes().data() + 2;
    EXPECT_EQ(std::string(MappedFile::fileAt(inside)), at("a"));
    EXPECT_EQ(MappedFile::fileAt(&inside), nullptr);
  }
  EXPECT_EQ(MappedFile::fileAt(inside), nullptr);
}

} // namespace
