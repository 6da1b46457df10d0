// What `plait help` prints, held against tests/golden/help/*.txt; UPDATE_GOLDEN=1 rewrites them.
#include "driver/Commands.h"
#include "driver/ExitStatus.h"
#include "tests/SourceDir.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <cstdlib>

using namespace plait::driver;

namespace {

void expectGolden(llvm::StringRef name, llvm::StringRef text) {
  std::string path = plait::sourcePath(("tests/golden/help/" + name + ".txt").str());
  if (std::getenv("UPDATE_GOLDEN")) {
    std::error_code ec;
    llvm::raw_fd_ostream(path, ec) << text;
    ASSERT_FALSE(ec) << path << ": " << ec.message();
  }
  auto golden = llvm::MemoryBuffer::getFile(path);
  ASSERT_TRUE(bool(golden)) << path << " is missing; run with UPDATE_GOLDEN=1";
  EXPECT_EQ((*golden)->getBuffer().str(), text.str()) << path;
}

TEST(Help, Overview) {
  std::string text;
  llvm::raw_string_ostream out(text);
  printOverview(out);
  expectGolden("plait", text);
}

TEST(Help, EveryCommand) {
  for (const Command *command : commands()) {
    std::string text;
    llvm::raw_string_ostream out(text);
    printHelp(*command, out);
    expectGolden(command->name, text);
    for (llvm::StringRef line : llvm::split(text, '\n'))
      EXPECT_LE(line.size(), 104u) << line.str();
  }
}

/// docs/command.md has the same table.
TEST(Help, ExitStatusesAreDocumented) {
  std::string table = "| exit status | |\n|---|---|\n";
  for (const ExitStatusInfo &row : exitStatuses())
    table += (llvm::Twine("| ") + row.status + " | " + row.meaning + " |\n").str();
  auto page = llvm::MemoryBuffer::getFile(plait::sourcePath("docs/command.md"));
  ASSERT_TRUE(bool(page));
  EXPECT_THAT((*page)->getBuffer().str(), testing::HasSubstr(table + "\n"));
}

/// Two options of one command never answer to one spelling.
TEST(Help, SpellingsAreUnique) {
  for (const Command *command : commands())
    for (const Section &section : command->sections)
      for (const Option *option : section.options) {
        EXPECT_EQ(command->find(option->name), option) << command->name << " " << option->name;
        if (option->letter) {
          EXPECT_EQ(command->find(llvm::StringRef(&option->letter, 1)), option) << option->name;
        }
      }
}

} // namespace
