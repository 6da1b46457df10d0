// What is refused before any model is opened.
#include "driver/Compiler.h"
#include "CommandTestUtils.h"
#include "driver/InputSyntax.h"

#include "llvm/Support/raw_ostream.h"
#include "gmock/gmock.h"

using namespace plait;
using namespace plait::driver;
using testing::HasSubstr;

namespace {

class Check : public testing::Test {
protected:
  void SetUp() override {
    std::error_code ec;
    llvm::raw_fd_ostream(folder / "model.pt", ec) << "any";
    options.output = folder / "out.mlpackage";
    add("a");
    add("b");
  }
  void add(std::string name) {
    options.functions.push_back(
        {{std::move(name), folder / "model.pt", {*parseInput("x=[1, 4]")}, {"y"}}});
  }
  std::string message() {
    if (Error error = check(options))
      return toString(std::move(error));
    return "";
  }

  TemporaryFolder folder;
  CompileOptions options;
};

TEST_F(Check, Accepts) {
  EXPECT_EQ(message(), "");
  options.defaultFunction = "b";
  EXPECT_EQ(message(), "");
  writeTestPackage(options.output, {{"main", 1}}, /*plain=*/true);
  EXPECT_EQ(message(), "") << "a package is replaced";
}

TEST_F(Check, FunctionNames) {
  for (const char *name : {"1a", "a b", "a-b", "", "\xc3\xa9", "tensor"}) {
    options.functions[1].name = name;
    EXPECT_THAT(message(), HasSubstr(std::string("'") + name + "' cannot name a function"));
  }
  options.functions[1].name = "a";
  EXPECT_EQ(message(), "two functions are called 'a'; give each a name of its own");
  options.functions.clear();
  EXPECT_THAT(message(), HasSubstr("at least one function"));
}

TEST_F(Check, DefaultFunction) {
  options.defaultFunction = "c";
  EXPECT_EQ(message(), "the default function 'c' is none of the functions: a, b");
}

TEST_F(Check, InterfaceNames) {
  options.functions[0].outputs = {"x"};
  EXPECT_EQ(message(), "function 'a': two of its inputs and outputs are called 'x'; give each a "
                       "name of its own");
  options.functions[0].outputs = {"a-b"};
  EXPECT_THAT(message(), HasSubstr("the output name 'a-b' cannot be one in Core ML"));
}

TEST_F(Check, Models) {
  options.functions[1].model = folder / "none.pt";
  EXPECT_THAT(message(), HasSubstr("none.pt: no such file"));
  options.functions[1].model = folder.path();
  EXPECT_THAT(message(), HasSubstr("this is a folder"));
}

TEST_F(Check, Output) {
  options.output = folder / "no/where.mlpackage";
  EXPECT_THAT(message(), HasSubstr("where.mlpackage': there is no folder"));
  options.output = folder / "model.pt/x.mlpackage";
  EXPECT_THAT(message(), HasSubstr("x.mlpackage"));
  options.output = folder / "model.pt";
  EXPECT_THAT(message(), HasSubstr("it exists and is not a package"));
  std::string photos = folder / "photos.mlpackage";
  llvm::sys::fs::create_directories(photos);
  options.output = photos;
  EXPECT_EQ(message(), "") << "an empty folder is replaced";
  std::error_code ec;
  llvm::raw_fd_ostream(photos + "/1.jpg", ec) << "photo";
  EXPECT_THAT(message(), HasSubstr("it exists and is not a package"));
}

TEST_F(Check, NothingIsWrittenOnFailure) {
  CompileObserver silent;
  auto report = compile(options, silent); // model.pt is no model
  ASSERT_FALSE(bool(report));
  EXPECT_THAT(toString(report.takeError()), HasSubstr("model.pt"));
  EXPECT_THAT(folder.entries(), testing::ElementsAre("model.pt"));
}

} // namespace
