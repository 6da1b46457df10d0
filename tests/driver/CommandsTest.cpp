// The subcommands that need no model: dispatch, inspect, run, merge, remove, opt.
#include "CommandTestUtils.h"

#include "backend/PackageReader.h"
#include "mil/TensorData.h"
#include "runtime/arrays/Npy.h"

#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"
#include "gmock/gmock.h"

using namespace plait;
using namespace plait::driver;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

namespace {

TEST(Dispatch, Statuses) {
  CommandResult nothing = plaitCommand({});
  EXPECT_EQ(nothing.status, 2);
  EXPECT_THAT(nothing.err, HasSubstr("usage: plait COMMAND"));
  CommandResult unknown = plaitCommand({"comple"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.err, StartsWith("plait: error: unknown command 'comple' (did you mean "
                                      "'compile'?); there are compile, inspect, "));
  CommandResult version = plaitCommand({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_THAT(version.out, StartsWith("plait 0."));
  EXPECT_EQ(plaitCommand({"help", "verify"}).out, plaitCommand({"verify", "--help"}).out);
  EXPECT_EQ(plaitCommand({"help", "nothing"}).status, 2);
  EXPECT_EQ(plaitCommand({"--help"}).status, 0);
}

TEST(Dispatch, WrongUse) {
  for (std::vector<std::string> arguments : std::initializer_list<std::vector<std::string>>{
           {"compile"},
           {"compile", "-o", "x.mlpackage"},
           {"compile", "model.pt"},
           {"compile", "-o", "x.mlpackage", "a.pt", "b.pt"},
           {"compile", "-o", "x", "model.pt"},
           {"compile", "-o", "x.mlpackage", "--precision", "fp12", "model.pt"},
           {"compile", "-o", "x.mlpackage", "--function", "justname"},
           {"compile", "-o", "x.mlpackage", "--function", "a=a.pt", "b.pt"},
           {"compile", "-o", "x.mlpackage", "--input", "x=[2,", "a.pt"},
           {"compile", "-o", "x.mlpackage", "--lora", "melt", "a.pt"},
           {"compile", "-o", "x.mlpackage", "--adapter", "a=dir", "a.pt"},
           {"compile", "r.yaml", "--input", "x=[2]"},
           {"inspect"},
           {"inspect", "a.mlpackage", "--json", "--mil"},
           {"merge", "-o", "x.mlpackage"},
           {"merge", "-o", "x.mlpackage", "photo.jpg"},
           {"merge", "-o", "x.mlpackage", "--expect-shared", "most", "a.mlpackage"},
           {"add"},
           {"add", "x.mlpackage"},
           {"add", "x.mlpackage", "--function", "justname"},
           {"remove", "x.mlpackage"},
           {"remove", "--compact"},
           {"compress", "x.mlpackage", "-o", "y.mlpackage"},
           {"compress", "x.mlpackage", "--compress", "q4"},
           {"compress", "x.mlpackage", "-o", "y.mlpackage", "--compress", "palette5"},
           {"compile", "-o", "x.mlpackage", "--require-coverage", "95%", "a.pt"},
           {"compile", "-o", "x.mlpackage", "--expect-shared", "101%", "a.pt"},
           {"verify", "x.mlpackage"},
           {"run", "x.mlpackage"},
           {"opt"},
           {"opt", "--passes=dec", "x.mil"}}) {
    CommandResult result = plaitCommand(arguments);
    EXPECT_EQ(result.status, 2) << arguments[0] << " " << arguments.back() << ": " << result.err;
    EXPECT_THAT(result.err, StartsWith("plait: error: "));
    bool isJson = llvm::is_contained(arguments, "--json"); // which has the problem in its object
    EXPECT_EQ(result.out.empty(), !isJson) << result.out;
  }
}

/// Every member of an object, so that the schema cannot grow or shrink unseen.
std::vector<std::string> keys(const llvm::json::Object &object) {
  std::vector<std::string> names;
  for (const auto &entry : object)
    names.push_back(entry.first.str());
  llvm::sort(names);
  return names;
}

TEST(Inspect, Json) {
  TemporaryFolder folder;
  writeTestPackage(folder / "p.mlpackage", {{"second", 1}, {"first", 1}, {"third", 5}});
  CommandResult result = plaitCommand({"inspect", folder / "p.mlpackage", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  auto json = llvm::json::parse(result.out);
  ASSERT_TRUE(bool(json)) << toString(json.takeError());
  const llvm::json::Object &root = *json->getAsObject();
  EXPECT_THAT(keys(root),
              ElementsAre("command", "default_function", "functions", "plait", "problems",
                          "specification_version", "status", "version", "weights"));
  EXPECT_EQ(root.getInteger("specification_version"), 9);
  EXPECT_EQ(root.getString("default_function"), "second");
  const llvm::json::Array &functions = *root.getArray("functions");
  ASSERT_EQ(functions.size(), 3u);
  const llvm::json::Object &function = *functions[0].getAsObject();
  EXPECT_THAT(keys(function),
              testing::IsSupersetOf({"name", "inputs", "outputs", "operations", "weight_bytes"}));
  EXPECT_EQ(function.getObject("operations")->getInteger("linear"), 1);
  EXPECT_EQ(function.getInteger("weight_bytes"), 128);
  const llvm::json::Object &input = *(*function.getArray("inputs"))[0].getAsObject();
  EXPECT_EQ(input.getString("name"), "x");
  EXPECT_EQ(input.getString("dtype"), "fp32");
  EXPECT_EQ(*input.getArray("shape"), llvm::json::Array({1, 8}));
  const llvm::json::Object &weights = *root.getObject("weights");
  EXPECT_THAT(keys(weights),
              testing::IsSupersetOf({"blobs", "file_bytes", "referenced_bytes", "unique_bytes"}));
  EXPECT_EQ(weights.getInteger("blobs"), 2);
  EXPECT_EQ(weights.getInteger("unique_bytes"), 256);
  EXPECT_EQ(weights.getInteger("referenced_bytes"), 384);
}

TEST(Inspect, Text) {
  TemporaryFolder folder;
  writeTestPackage(folder / "p.mlpackage", {{"first", 1}, {"second", 1}, {"third", 5}});
  CommandResult result = plaitCommand({"inspect", folder / "p.mlpackage"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("specification version 9, 3 functions"));
  EXPECT_THAT(result.out, HasSubstr("first (default)"));
  EXPECT_THAT(result.out, HasSubstr("x: tensor<fp32, [1, 8]>"));
  EXPECT_THAT(result.out, HasSubstr("128 bytes in    1 blobs by first, second"));
  EXPECT_THAT(result.out,
              HasSubstr("                   its own            first           second"));
  EXPECT_THAT(result.out, HasSubstr("second                  0              128                -"));
  EXPECT_THAT(result.out, HasSubstr("third                 128                0                0"));

  result = plaitCommand({"inspect", folder / "p.mlpackage", "--mil"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("func first<ios18>(tensor<fp32, [1, 8]> x)"));
  EXPECT_THAT(result.out,
              HasSubstr("tensor<fp32, [4, 8]> weight = const()[name = string(\"weight\")"));
}

TEST(Inspect, LongKeysAreSeparated) {
  TemporaryFolder folder;
  mil::Program program;
  addLinear(program, "main", 1);
  program.metadata.userDefined["com.example.build_number"] = "77";
  ASSERT_FALSE(bool(writePackage(program, folder / "p.mlpackage")));
  CommandResult result = plaitCommand({"inspect", folder / "p.mlpackage"});
  EXPECT_THAT(result.out, HasSubstr("  com.example.build_number 77\n"));
}

TEST(Inspect, ManyFunctionsAreOneLineEach) {
  TemporaryFolder folder;
  writeTestPackage(folder / "p.mlpackage",
                   {{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"e", 1}, {"f", 1}, {"g", 9}});
  CommandResult result = plaitCommand({"inspect", folder / "p.mlpackage"});
  EXPECT_THAT(result.out, HasSubstr("  f                       0              128\n"));
  EXPECT_THAT(result.out, HasSubstr("  g                     128                0\n"));
}

TEST(Inspect, Refuses) {
  TemporaryFolder folder;
  CommandResult result = plaitCommand({"inspect", folder / "none.mlpackage"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("none.mlpackage"));
}

void save(const std::string &path, mil::DType dtype, std::vector<int64_t> shape) {
  Error error = runtime::writeNpy(path, mil::TensorData::splat(dtype, shape, 1));
  EXPECT_FALSE(bool(error)) << toString(std::move(error));
}

TEST(Run, WritesEveryOutput) {
  TemporaryFolder folder;
  writeTestPackage(folder / "p.mlpackage", {{"main", 0}}, /*plain=*/true);
  save(folder / "x.npy", mil::DType::F64, {1, 8});
  CommandResult result = plaitCommand({"run", folder / "p.mlpackage", "--input",
                                       "x=" + (folder / "x.npy"), "--output-dir", folder / "out"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("y.npy: tensor<fp32, [1, 4]>"));
  auto y = runtime::readNpy(folder / "out/y.npy");
  ASSERT_TRUE(bool(y)) << toString(y.takeError());
  auto values = y->floatValues();
  ASSERT_TRUE(bool(values));
  EXPECT_THAT(*values, ElementsAre(28, 92, 156, 220)); // sums of rows of 0 … 31
}

TEST(Run, Refuses) {
  TemporaryFolder folder;
  writeTestPackage(folder / "p.mlpackage", {{"a", 0}, {"b", 0}});
  save(folder / "x.npy", mil::DType::F32, {1, 8});
  save(folder / "wide.npy", mil::DType::F32, {1, 9});
  save(folder / "int.npy", mil::DType::I32, {1, 8});
  auto run = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"run", folder / "p.mlpackage", "--output-dir", folder / "out"});
    CommandResult result = plaitCommand(more);
    EXPECT_EQ(result.status, 1);
    EXPECT_FALSE(llvm::sys::fs::exists(folder / "out"));
    return result.err;
  };
  EXPECT_THAT(run({"--function", "c"}), HasSubstr("there is no function 'c'; there are a, b"));
  EXPECT_THAT(run({}), HasSubstr("x"));
  EXPECT_THAT(run({"--input", "z=" + (folder / "x.npy")}),
              HasSubstr("function 'a' has no input 'z'; it has x"));
  EXPECT_THAT(run({"--input", "x=" + (folder / "none.npy")}), HasSubstr("none.npy"));
  EXPECT_THAT(run({"--input", "x=" + (folder / "wide.npy")}), HasSubstr("[1, 9]"));
  EXPECT_THAT(run({"--input", "x=" + (folder / "int.npy")}),
              HasSubstr("input 'x' is fp32 and the array int32"));
}

TEST(Merge, SharesByContent) {
  TemporaryFolder folder;
  writeTestPackage(folder / "a.mlpackage", {{"main", 1}}, /*plain=*/true);
  writeTestPackage(folder / "b.mlpackage", {{"f", 1}, {"g", 7}});
  CommandResult result =
      plaitCommand({"merge", "-o", folder / "m.mlpackage", "--default", "other", "--author", "me",
                    "one=" + (folder / "a.mlpackage"), folder / "b.mlpackage",
                    "other=" + (folder / "b.mlpackage") + ":g"});
  ASSERT_EQ(result.status, 0) << result.err;
  result = plaitCommand({"inspect", folder / "m.mlpackage", "--json"});
  auto json = llvm::json::parse(result.out);
  ASSERT_TRUE(bool(json)) << toString(json.takeError());
  const llvm::json::Object &root = *json->getAsObject();
  EXPECT_EQ(root.getString("default_function"), "other");
  std::vector<std::string> names;
  for (const llvm::json::Value &function : *root.getArray("functions"))
    names.push_back(function.getAsObject()->getString("name")->str());
  EXPECT_THAT(names, testing::UnorderedElementsAre("one", "f", "g", "other"));
  EXPECT_EQ(root.getObject("weights")->getInteger("blobs"), 2);

  result = plaitCommand({"merge", "-o", folder / "n.mlpackage", folder / "b.mlpackage",
                         "f=" + (folder / "a.mlpackage")});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("two functions are called 'f'"));
  EXPECT_FALSE(llvm::sys::fs::exists(folder / "n.mlpackage"));
}

TEST(Merge, ExpectsSharing) {
  TemporaryFolder folder;
  writeTestPackage(folder / "a.mlpackage", {{"f", 1}, {"g", 1}});
  writeTestPackage(folder / "b.mlpackage", {{"h", 7}});
  auto merge = [&](std::string percent, std::vector<std::string> more) {
    more.insert(more.begin(), {"merge", "-o", folder / "m.mlpackage", "--expect-shared", percent});
    return plaitCommand(more);
  };
  EXPECT_EQ(merge("100%", {folder / "a.mlpackage"}).status, 0);
  ASSERT_FALSE(llvm::sys::fs::remove_directories(folder / "m.mlpackage"));
  CommandResult result = merge("0.5", {folder / "a.mlpackage", folder / "b.mlpackage"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("the 0.50% that --expect-shared demands"));
  EXPECT_THAT(result.err, HasSubstr("function 'h': 0.00% of 128 bytes, 128 are its own"));
  EXPECT_THAT(result.err, testing::Not(HasSubstr("function 'f'")));
  EXPECT_THAT(folder.entries(), testing::UnorderedElementsAre("a.mlpackage", "b.mlpackage"));
}

/// clip(x, alpha, beta) in a package of iOS16, where alpha need not be below beta.
void writeClip(const std::string &path, double alpha, double beta) {
  mil::Program program;
  mil::Function *function = program.addFunction("main", mil::Opset::iOS16);
  mil::Value *x = function->addInput(mil::Type::tensor(mil::DType::F32, {1, 8}), "x");
  mil::Builder builder(function->body());
  function->body().setOutputs(
      {builder.emit(mil::OpKind::clip,
                    {{mil::clip::x, x}, {mil::clip::alpha, alpha}, {mil::clip::beta, beta}}, "y")});
  ASSERT_FALSE(bool(writePackage(program, path)));
}

TEST(Merge, BringsOldOpsetsToIos18) {
  TemporaryFolder folder;
  writeClip(folder / "a.mlpackage", 0.5, 0.5);
  CommandResult result = plaitCommand({"merge", "-o", folder / "m.mlpackage",
                                       folder / "a.mlpackage", "b=" + folder / "a.mlpackage"});
  EXPECT_EQ(result.status, 0) << result.err;
  auto merged = readPackage(folder / "m.mlpackage");
  ASSERT_TRUE(bool(merged)) << toString(merged.takeError());
  for (const auto &function : (*merged)->functions()) {
    EXPECT_EQ(function->opset, mil::Opset::iOS18);
    EXPECT_TRUE(function->outputs()[0]->def()->is(mil::OpKind::minimum));
  }
}

TEST(Merge, RefusesWhatNoNewerOpsetSays) {
  TemporaryFolder folder;
  writeClip(folder / "a.mlpackage", 0.5, 0.25);
  CommandResult result =
      plaitCommand({"merge", "-o", folder / "m.mlpackage", folder / "a.mlpackage"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("a.mlpackage is of ios16, and packages of several functions"));
  EXPECT_THAT(result.err,
              HasSubstr("function 'main': operation 'y' (clip): alpha 0.5 is above beta "
                        "0.25, which ios18 does not allow"));
  EXPECT_THAT(folder.entries(), testing::UnorderedElementsAre("a.mlpackage"));
}

TEST(Remove, TakesFunctionsOutAndCompacts) {
  TemporaryFolder folder;
  std::string package = folder / "p.mlpackage";
  writeTestPackage(package, {{"f", 1}, {"g", 7}, {"h", 9}});
  CommandResult result = plaitCommand({"remove", package, "g"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("1 function removed, 640 bytes of weights, of which 256 bytes "
                                    "are in use"));
  result = plaitCommand({"remove", package, "--compact"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("0 functions removed, 448 bytes of weights\n"));
  result = plaitCommand({"remove", package, "f"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("--default"));
  result = plaitCommand({"remove", package, "f", "--default", "h", "--compact", "--quiet"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "");
  result = plaitCommand({"inspect", package, "--json"});
  auto json = llvm::json::parse(result.out);
  ASSERT_TRUE(bool(json)) << toString(json.takeError());
  EXPECT_EQ(json->getAsObject()->getString("default_function"), "h");
  EXPECT_EQ(json->getAsObject()->getObject("weights")->getInteger("blobs"), 1);
  EXPECT_EQ(plaitCommand({"remove", package, "h"}).status, 1);
}

TEST(Opt, RunsPasses) {
  TemporaryFolder folder;
  std::string file = folder / "in.mil";
  {
    std::error_code ec;
    llvm::raw_fd_ostream out(file, ec);
    out << "program(1.3)\n{\n  func main<ios18>(tensor<fp32, [1, 4]> x) {\n"
           "    tensor<fp32, [1, 4]> unused = relu(x = x);\n"
           "    tensor<fp32, [1, 4]> y = relu(x = x);\n  } -> (y);\n}\n";
  }
  CommandResult before = plaitCommand({"opt", file});
  ASSERT_EQ(before.status, 0) << before.err;
  EXPECT_THAT(before.out, HasSubstr("unused"));
  CommandResult after =
      plaitCommand({"opt", "--passes=dce", "--verify-each", "--print-after", "all", file});
  ASSERT_EQ(after.status, 0) << after.err;
  EXPECT_THAT(after.out, StartsWith("// after dce\n"));
  EXPECT_THAT(after.out, testing::Not(HasSubstr("unused")));
  CommandResult written = plaitCommand({"opt", "--passes=dce", "-o", folder / "out.mil", file});
  EXPECT_EQ(written.out, "");
  EXPECT_EQ(plaitCommand({"opt", folder / "out.mil"}).out,
            plaitCommand({"opt", "--passes=dce", file}).out);
  EXPECT_THAT(plaitCommand({"opt", "--list-passes"}).out, HasSubstr("dce "));

  CommandResult broken = plaitCommand({"opt", folder / "none.mil"});
  EXPECT_EQ(broken.status, 1);
  EXPECT_THAT(broken.err, HasSubstr("none.mil"));
}

} // namespace
