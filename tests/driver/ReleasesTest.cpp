// Models as releases of PyTorch saved them, with what each release computed (releases/, written by
// write_release.py): all of a release become one package, and `plait run` gives the same numbers.
#include "CommandTestUtils.h"
#include "backend/PackageReader.h"
#include "runtime/arrays/Compare.h"
#include "runtime/arrays/Npy.h"
#include "support/Json.h"
#include "tests/ReleaseFiles.h"
#include "tests/SourceDir.h"

#include "llvm/ADT/StringExtras.h"

using namespace plait;
using namespace plait::driver;

namespace {

class Releases : public testing::TestWithParam<std::string> {
protected:
  struct Case {
    std::string name, file;
    int64_t runs;
    std::vector<std::string> options;
  };

  void SetUp() override {
    auto text = unpackRelease(GetParam(), folder.path());
    ASSERT_TRUE(bool(text)) << toString(text.takeError());
    auto index = parseJson(*text);
    ASSERT_TRUE(bool(index)) << toString(index.takeError());
    for (const llvm::json::Value &value : *index->getAsObject()->getArray("cases")) {
      const llvm::json::Object &fields = *value.getAsObject();
      Case one{fields.getString("name")->str(),
               folder / *fields.getString("file"),
               *fields.getInteger("runs"),
               {}};
      if (auto model = fields.getString("model"))
        one.file += ":" + model->str();
      for (auto [member, option] : {std::pair("inputs", "--input"), {"states", "--states"}})
        if (const llvm::json::Array *values = fields.getArray(member))
          for (const llvm::json::Value &given : *values)
            one.options.insert(one.options.end(), {option, given.getAsString()->str()});
      cases.push_back(std::move(one));
    }
  }

  void compile() {
    std::vector<std::string> arguments{"compile", "-q", "-o", package, "--precision", "fp32"};
    for (const Case &one : cases) {
      arguments.insert(arguments.end(), {"--function", one.name + "=" + one.file});
      arguments.insert(arguments.end(), one.options.begin(), one.options.end());
    }
    CommandResult result = plaitCommand(arguments);
    ASSERT_EQ(result.status, 0) << result.err;
  }

  /// A call for each run of the case, on the same states.
  void check(const Case &one, const mil::Function &function) {
    std::vector<std::string> arguments{"run",    package,        "--function",
                                       one.name, "--output-dir", folder / (one.name + "/results")};
    for (int64_t run = 0; run < one.runs; ++run) {
      std::string step = folder / fmt::format("{0}/{1}/step", one.name, run);
      llvm::sys::fs::create_directories(step);
      size_t number = 0;
      for (const auto &input : function.inputs())
        if (!input->type.isState())
          llvm::sys::fs::rename(folder /
                                    fmt::format("{0}/{1}/input_{2}.npy", one.name, run, number++),
                                step + "/" + input->name.str() + ".npy");
      arguments.insert(arguments.end(), {"--steps", step});
    }
    CommandResult result = plaitCommand(arguments);
    ASSERT_EQ(result.status, 0) << one.name << ": " << result.err;
    for (int64_t run = 0; run < one.runs; ++run) {
      size_t number = 0;
      for (const mil::Value *output : function.body().outputs()) {
        std::string expected =
            folder / fmt::format("{0}/{1}/output_{2}.npy", one.name, run, number++);
        std::string actual =
            folder / fmt::format("{0}/results/{1}/{2}.npy", one.name, run + 1, output->name.str());
        compare(expected, actual,
                fmt::format("{0}, run {1}, {2}", one.name, run, output->name.str()));
      }
      EXPECT_FALSE(llvm::sys::fs::exists(
          folder / fmt::format("{0}/{1}/output_{2}.npy", one.name, run, number)))
          << one.name << " has more results";
    }
  }

  static void compare(const std::string &expected, const std::string &actual,
                      const std::string &what) {
    auto reference = runtime::readNpy(expected), computed = runtime::readNpy(actual);
    ASSERT_TRUE(bool(reference)) << what << ": " << toString(reference.takeError());
    ASSERT_TRUE(bool(computed)) << what << ": " << toString(computed.takeError());
    auto comparison = runtime::compare(*computed, *reference);
    ASSERT_TRUE(bool(comparison)) << what << ": " << toString(comparison.takeError());
    EXPECT_TRUE(runtime::Tolerance().accepts(*comparison))
        << what << ": " << runtime::describe(*comparison);
  }

  TemporaryFolder folder;
  std::string package = folder / "all.mlpackage";
  std::vector<Case> cases;
};

TEST_P(Releases, ComputeWhatTheyDid) {
  compile();
  if (HasFatalFailure())
    return;
  auto program = readPackage(package);
  ASSERT_TRUE(bool(program)) << toString(program.takeError());
  for (const Case &one : cases)
    for (const auto &function : (*program)->functions())
      if (function->name == one.name)
        check(one, *function);
}

std::vector<std::string> files() {
  std::vector<std::string> paths;
  std::error_code ec;
  for (llvm::sys::fs::directory_iterator it(sourcePath("tests/driver/releases"), ec), end;
       it != end && !ec; it.increment(ec))
    if (llvm::sys::path::extension(it->path()) == ".zip")
      paths.push_back(it->path());
  llvm::sort(paths);
  return paths;
}

INSTANTIATE_TEST_SUITE_P(Files, Releases, testing::ValuesIn(files()), [](const auto &info) {
  std::string name = llvm::sys::path::stem(info.param).str();
  for (char &c : name)
    c = llvm::isAlnum(c) ? c : '_';
  return name;
});

} // namespace
