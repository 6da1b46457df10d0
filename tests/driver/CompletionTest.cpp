// What completion offers, and that the tables alone decide it.
#include "driver/shell/Completion.h"

#include "CommandTestUtils.h"
#include "driver/shell/ManPage.h"

#include "llvm/Support/raw_ostream.h"
#include "gmock/gmock.h"

using namespace plait::driver;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;

namespace {

std::vector<std::string> texts(std::vector<std::string> words) {
  std::vector<std::string> found;
  for (Candidate &candidate : complete(words))
    found.push_back(std::move(candidate.text));
  return found;
}

TEST(Completion, EveryCommandAndOption) {
  for (const Command *command : commands()) {
    EXPECT_THAT(texts({command->name}), Contains(command->name));
    for (const Section &section : command->sections)
      for (const Option *option : section.options)
        EXPECT_THAT(texts({command->name, spelling(*option)}), Contains(spelling(*option)))
            << command->name;
  }
  EXPECT_THAT(texts({"comp"}), ElementsAre("compile", "compress", "completion"));
  EXPECT_THAT(texts({"--v"}), ElementsAre("--version"));
  EXPECT_THAT(texts({"nothing", ""}), ElementsAre());
  EXPECT_THAT(texts({}), ElementsAre());
}

/// An option that may come once is not offered again.
TEST(Completion, WhatIsGivenIsNotOffered) {
  EXPECT_THAT(texts({"compile", "--precision", "fp16", "--pre"}), ElementsAre());
  EXPECT_THAT(texts({"compile", "--keep-fp32", "a", "--keep"}), ElementsAre("--keep-fp32"));
  EXPECT_THAT(texts({"compile", "--", "--pre"}), ElementsAre());
}

TEST(Completion, Words) {
  EXPECT_THAT(texts({"compile", "--precision", ""}), ElementsAre("fp16", "fp32", "auto"));
  EXPECT_THAT(texts({"compile", "--precision=f"}),
              ElementsAre("--precision=fp16", "--precision=fp32"));
  EXPECT_THAT(texts({"compile", "--states", ""}), ElementsAre("auto", "none"));
  EXPECT_THAT(texts({"compile", "--allow", "rank"}), Contains("rank-limit"));
  EXPECT_THAT(texts({"compile", "--print-after", "l"}), Contains("lowering"));
  EXPECT_THAT(texts({"help", "ver"}), ElementsAre("verify", "version"));
  EXPECT_THAT(texts({"adapter", ""}), ElementsAre("pack"));
  EXPECT_THAT(texts({"completion", "z"}), ElementsAre("zsh"));
  EXPECT_THAT(texts({"compile", "--input", "x=fp"}), ElementsAre());
}

TEST(Completion, FilesOfTheirKind) {
  TemporaryFolder folder;
  std::string base = folder.path() + "/";
  for (const char *name : {"a.pt", "b.pt2", "c.txt", "x.npy"}) {
    std::error_code code;
    llvm::raw_fd_ostream(base + name, code) << "x";
  }
  ASSERT_FALSE(llvm::sys::fs::create_directory(base + "chat"));
  ASSERT_FALSE(llvm::sys::fs::create_directory(base + "p.mlpackage"));
  EXPECT_THAT(texts({"compile", "-o", "q.mlpackage", base}),
              ElementsAre(base + "a.pt", base + "b.pt2", base + "chat/"));
  EXPECT_THAT(texts({"compile", "--function", "f=" + base + "a"}),
              ElementsAre("f=" + base + "a.pt"));
  EXPECT_THAT(texts({"compile", "--function", base}), ElementsAre());
  EXPECT_THAT(texts({"compile", "--adapter", "a=" + base + "c"}),
              ElementsAre("a=" + base + "c.txt", "a=" + base + "chat/"));
  EXPECT_THAT(texts({"compile", "--adapter", "a=x:1+" + base + "ch"}),
              ElementsAre("a=x:1+" + base + "chat/"));
  EXPECT_THAT(texts({"inspect", base}), ElementsAre(base + "chat/", base + "p.mlpackage"));
  EXPECT_THAT(texts({"merge", "-o", "q.mlpackage", "a.mlpackage", base + "p"}),
              ElementsAre(base + "p.mlpackage"));
  EXPECT_THAT(texts({"run", base + "p.mlpackage", "--output-dir", base}),
              ElementsAre(base + "chat/"));
}

TEST(Completion, NamesOfAPackage) {
  TemporaryFolder folder;
  std::string package = folder / "p.mlpackage";
  writeTestPackage(package, {{"adapter_1", 0.0f}, {"adapter_2", 1.0f}});
  EXPECT_THAT(texts({"verify", package, "--function", ""}), ElementsAre("adapter_1", "adapter_2"));
  EXPECT_THAT(texts({"remove", package, "adapter_"}), ElementsAre("adapter_1", "adapter_2"));
  EXPECT_THAT(texts({"remove", package, "adapter_1", "--default", "adapter_2"}),
              ElementsAre("adapter_2"));
  EXPECT_THAT(texts({"run", package, "--input", ""}), ElementsAre("x="));
  EXPECT_THAT(texts({"run", package, "--trace", ""}), IsSupersetOf({"y", "all"}));
  // What is damaged says nothing.
  EXPECT_THAT(texts({"verify", folder / "none.mlpackage", "--function", ""}), ElementsAre());
}

TEST(Completion, WhereBashBreaksWords) {
  CommandResult result = plaitCommand(
      {"completion", "candidates", "--line", "plait compile --precision=f", "--breaks", " =:"});
  EXPECT_EQ(result.out, "fp16\nfp32\n");
  EXPECT_EQ(plaitCommand({"completion", "candidates", "--line", "plait ver"}).out,
            "verify\t" + std::string(findCommand("verify")->summary) + "\nversion\t" +
                findCommand("version")->summary + "\n");
  EXPECT_EQ(plaitCommand({"completion", "candidates", "--line", "plait compile --input 'x"}).out,
            "");
  EXPECT_EQ(plaitCommand({"completion", "candidates", "--line", "pl"}).out, "");
}

TEST(Completion, Refusals) {
  EXPECT_THAT(plaitCommand({"completion"}).err, HasSubstr("a shell is wanted"));
  CommandResult unknown = plaitCommand({"completion", "zhs"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.err, HasSubstr("there are bash, zsh, fish (did you mean 'zsh'?)"));
}

TEST(ManPage, HasEveryCommandAndOption) {
  std::string page;
  llvm::raw_string_ostream out(page);
  printManPage(out);
  auto roff = [](llvm::StringRef text) {
    std::string result;
    for (char c : text)
      result += c == '-' ? "\\-" : std::string(1, c);
    return result;
  };
  for (const Command *command : commands()) {
    EXPECT_THAT(page, HasSubstr(std::string(".SS \"plait ") + command->name + "\"\n"));
    for (const Section &section : command->sections)
      for (const Option *option : section.options)
        EXPECT_THAT(page, HasSubstr("\\fB" + roff(spelling(*option)) + "\\fR"));
  }
  EXPECT_THAT(page, HasSubstr(".B 128+N\n"));
  EXPECT_EQ(plaitCommand({"help", "--man"}).out, page);
  EXPECT_EQ(plaitCommand({"help", "--man", "run"}).status, 2);
}

} // namespace
