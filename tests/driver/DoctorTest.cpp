// plait doctor: every rule with a package that breaks it and one that nearly does. Rules of
// programs have theirs in tests/golden/rules; those of files are made here.
#include "backend/PackageReader.h"
#include "backend/TextModel.h"
#include "backend/WeightFile.h"
#include "driver/doctor/DoctorReport.h"
#include "driver/doctor/Repair.h"
#include "mil/Builder.h"
#include "mil/Verifier.h"
#include "tests/GoldenPage.h"
#include "tests/driver/CommandTestUtils.h"
#include "tests/driver/InterpretingRunner.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"

#include <gmock/gmock.h>

using namespace plait;
using namespace plait::driver;
using testing::HasSubstr;

namespace {

using mil::RuleId;

std::string readFile(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  return buffer ? (*buffer)->getBuffer().str() : "";
}

void writeFile(const std::string &path, llvm::StringRef bytes) {
  llvm::sys::fs::create_directories(llvm::sys::path::parent_path(path));
  std::error_code ec;
  llvm::raw_fd_ostream(path, ec) << bytes;
  ASSERT_FALSE(ec) << ec.message();
}

/// Whether a place breaks the rule. A failure of the test where `path` cannot be looked at.
bool breaks(const std::string &path, llvm::StringRef rule) {
  auto diagnosis = diagnose(path);
  if (!diagnosis) {
    ADD_FAILURE() << toString(diagnosis.takeError());
    return false;
  }
  return llvm::any_of(diagnosis->findings, [&](const Finding &f) { return f.rule->id == rule; });
}

std::vector<std::string> rulesOf(const std::string &path) {
  std::vector<std::string> ids;
  auto diagnosis = diagnose(path);
  if (!diagnosis)
    return {toString(diagnosis.takeError())};
  for (const Finding &finding : diagnosis->findings)
    if (!llvm::is_contained(ids, finding.rule->id))
      ids.push_back(finding.rule->id);
  return ids;
}

// ---- rules of programs
// ---------------------------------------------------------------------------

/// The program as a package; as a text where no package can hold it.
std::string written(const TemporaryFolder &folder, llvm::StringRef name, llvm::StringRef text) {
  auto package = parseText(text, folder / (name + ".mil").str());
  if (!package) {
    ADD_FAILURE() << name.str() << ": " << toString(package.takeError());
    return "";
  }
  std::string path = folder / (name + ".mlpackage").str();
  if (Error error = writePackage(*(*package).program, path)) {
    consumeError(std::move(error));
    path = folder / (name + ".mil").str();
    writeFile(path, text);
  }
  return path;
}

struct RuleCase {
  std::string breaking, near;
};

RuleCase readCase(llvm::StringRef id) {
  std::string path = sourcePath(("tests/golden/rules/" + id + ".mil").str());
  std::string text = readFile(path);
  EXPECT_FALSE(text.empty()) << path << " is missing: a rule has a program that breaks it, and, "
                             << "behind `// -----`, one that nearly does";
  auto [breaking, near] = llvm::StringRef(text).split("// -----\n");
  return {breaking.str(), near.str()};
}

RuleCase manyOutputs() {
  auto program = [](unsigned count) {
    std::string body, outputs;
    for (unsigned i = 0; i < count; ++i) {
      body += fmt::format("tensor<fp32, [2]> y{0} = relu(x = x);\n", i);
      outputs += (i ? ", y" : "y") + std::to_string(i);
    }
    return "program(1.3)\n{\nfunc main<ios18>(tensor<fp32, [2]> x) {\n" + body + "} -> (" +
           outputs + ");\n}\n";
  };
  return {program(1001), program(1000)};
}

class DoctorRules : public testing::TestWithParam<std::string> {
protected:
  RuleCase rule() const {
    return GetParam() == "many-outputs" ? manyOutputs() : readCase(GetParam());
  }
};

TEST_P(DoctorRules, IsBrokenAndNearlyBroken) {
  TemporaryFolder folder;
  RuleCase c = rule();
  EXPECT_TRUE(breaks(written(folder, "breaks", c.breaking), GetParam()));
  EXPECT_FALSE(breaks(written(folder, "near", c.near), GetParam()));
}

/// What the rewritten program computes from the numbers of the function's inputs.
std::vector<mil::TensorData> results(const mil::Function &function) {
  std::vector<mil::TensorData> inputs;
  for (const auto &input : function.inputs()) {
    if (!input->type.isTensor())
      continue;
    auto shape = *mil::constShape(input->type.shape());
    std::vector<float> numbers(mil::numElements(llvm::ArrayRef<int64_t>(shape)));
    for (auto [i, number] : llvm::enumerate(numbers))
      number = float(i % 3);
    inputs.push_back(
        mil::TensorData::from<float>(mil::DType::F32, shape, numbers).cast(input->type.dtype()));
  }
  InterpretingRunner runner;
  auto outputs = runner.run(function, inputs);
  if (!outputs) {
    ADD_FAILURE() << toString(outputs.takeError());
    return {};
  }
  return *outputs;
}

std::vector<double> numbersOf(const mil::TensorData &tensor) {
  return llvm::cantFail(tensor.cast(mil::DType::F32).floatValues());
}

/// What the table says can be rewritten is, into what computes the same.
TEST_P(DoctorRules, IsRepaired) {
  const mil::Rule &rule =
      *llvm::find_if(mil::listRules(), [](const mil::Rule &r) { return r.id == GetParam(); });
  if (rule.repair == mil::Rule::None)
    return;
  TemporaryFolder folder;
  RuleCase c = this->rule();
  std::string before = written(folder, "before", c.breaking), after = folder / "after.mlpackage";
  auto repaired = repair({before, after});
  ASSERT_TRUE(bool(repaired)) << toString(repaired.takeError());
  EXPECT_FALSE(breaks(after, GetParam()));
  auto old = readPackage(before), now = readPackage(after);
  ASSERT_TRUE(old && now);
  const mil::Function &from = *(*old)->functions()[0], &to = *(*now)->functions()[0];
  EXPECT_EQ(from.name, to.name);
  // Scalars and booleans at the border are a matter of the types, and states of nobody's numbers.
  if (rule.found == mil::Rule::Interface || GetParam() == "state-write")
    return;
  auto expected = results(from), found = results(to);
  ASSERT_EQ(expected.size(), found.size());
  for (auto [a, b] : llvm::zip(expected, found))
    if (rule.repair == mil::Rule::Exact)
      EXPECT_EQ(numbersOf(a), numbersOf(b));
    else
      EXPECT_THAT(numbersOf(b), testing::Pointwise(testing::DoubleNear(1e-4), numbersOf(a)));
}

std::vector<std::string> programRules() {
  std::vector<std::string> ids;
  for (const mil::Rule &rule : mil::listRules())
    if (rule.found != mil::Rule::Package)
      ids.push_back(rule.id);
  return ids;
}

INSTANTIATE_TEST_SUITE_P(Rules, DoctorRules, testing::ValuesIn(programRules()),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// ---- rules of packages
// ---------------------------------------------------------------------------

/// Packages that one step breaks. Rules whose test is below, so that none is without.
struct DoctorPackages : testing::Test {
  std::string good(llvm::StringRef name = "p") {
    std::string path = folder / (name + ".mlpackage").str();
    writeTestPackage(path, {{"a", 0.F}, {"b", 100.F}});
    return path;
  }
  std::string manifest(const std::string &package) { return package + "/Manifest.json"; }
  std::string model(const std::string &package) {
    return package + "/Data/com.apple.CoreML/model.mlmodel";
  }
  std::string weights(const std::string &package) {
    return package + "/Data/com.apple.CoreML/weights/weight.bin";
  }
  void replace(const std::string &path, llvm::StringRef from, llvm::StringRef to) {
    std::string text = readFile(path);
    size_t at = text.find(from.str());
    ASSERT_NE(at, std::string::npos) << from.str();
    text.replace(at, from.size(), to.str());
    writeFile(path, text);
  }
  /// The package is rewritten, and nothing that is wrong with its files is left.
  void expectRepaired(const std::string &package, llvm::StringRef rule) {
    std::string output = folder / "repaired.mlpackage";
    auto repaired = repair({package, output});
    ASSERT_TRUE(bool(repaired)) << toString(repaired.takeError());
    EXPECT_FALSE(breaks(output, rule));
  }
  TemporaryFolder folder;
};

TEST_F(DoctorPackages, Good) {
  EXPECT_THAT(rulesOf(good()), testing::ElementsAre("engine-precision"));
}

TEST_F(DoctorPackages, Manifest) {
  std::string package = good();
  replace(manifest(package), "\"fileFormatVersion\": \"1.0.0\"",
          "\"fileFormatVersion\": \"0.9.12\"");
  EXPECT_FALSE(breaks(package, "package-manifest"));
  replace(manifest(package), "0.9.12", "1.0.1");
  EXPECT_TRUE(breaks(package, "package-manifest"));
  expectRepaired(package, "package-manifest");
  package = good("q");
  replace(manifest(package), "\"description\": \"CoreML Model Weights\"", "\"description\": \"\"");
  EXPECT_FALSE(breaks(package, "package-manifest"));
  replace(manifest(package), "\"description\": \"\"", "\"about\": \"\"");
  EXPECT_TRUE(breaks(package, "package-manifest"));
  for (llvm::StringRef text : {"", "[]", "{\"fileFormatVersion\": \"1.0.0\"}"}) {
    writeFile(manifest(package), text);
    EXPECT_TRUE(breaks(package, "package-manifest")) << text.str();
  }
  llvm::sys::fs::remove(manifest(package));
  EXPECT_TRUE(breaks(package, "package-manifest"));
}

TEST_F(DoctorPackages, Items) {
  std::string package = good();
  EXPECT_FALSE(breaks(package, "package-items"));
  llvm::sys::fs::remove(model(package));
  EXPECT_THAT(rulesOf(package), testing::ElementsAre("package-items"));
}

TEST_F(DoctorPackages, Readable) {
  std::string package = good();
  std::string whole = readFile(model(package));
  writeFile(model(package), whole);
  EXPECT_FALSE(breaks(package, "package-readable"));
  writeFile(model(package), llvm::StringRef(whole).drop_back(1));
  EXPECT_TRUE(breaks(package, "package-readable"));
  package = good("q");
  std::string bytes = readFile(weights(package));
  writeFile(weights(package), llvm::StringRef(bytes).drop_back(64));
  EXPECT_TRUE(breaks(package, "package-readable"));
}

TEST_F(DoctorPackages, WellFormed) {
  auto program = [](const char *type) {
    return fmt::format("program(1.3)\n{{\nfunc main<ios18>(tensor<fp32, [2]> x) {{\n"
                       "tensor<{}, [2]> y = relu(x = x);\n}} -> (y);\n}}\n",
                       type);
  };
  writeFile(folder / "breaks.mil", program("fp16"));
  EXPECT_THAT(rulesOf(folder / "breaks.mil"), testing::ElementsAre("well-formed"));
  writeFile(folder / "near.mil", program("fp32"));
  EXPECT_THAT(rulesOf(folder / "near.mil"), testing::ElementsAre());
  auto repaired = repair({folder / "breaks.mil", folder / "out.mlpackage"});
  ASSERT_FALSE(repaired);
  EXPECT_THAT(toString(repaired.takeError()), HasSubstr("not well-formed"));
  EXPECT_FALSE(llvm::sys::fs::exists(folder / "out.mlpackage"));
}

TEST_F(DoctorPackages, SpecificationVersion) {
  std::string package = good();
  auto setVersion = [&](char version) {
    std::string bytes = readFile(model(package));
    ASSERT_EQ(bytes[0], 8) << "specificationVersion comes first";
    bytes[1] = version;
    writeFile(model(package), bytes);
  };
  setVersion(10);
  EXPECT_FALSE(breaks(package, "specification-version"));
  setVersion(8);
  EXPECT_TRUE(breaks(package, "specification-version"));
  expectRepaired(package, "specification-version");
  // Later than plait knows: nothing is said of the package.
  setVersion(99);
  auto diagnosis = diagnose(package);
  ASSERT_FALSE(diagnosis);
  EXPECT_THAT(toString(diagnosis.takeError()), HasSubstr("specification version is 99"));
}

TEST_F(DoctorPackages, WeightCount) {
  std::string package = good();
  auto setCount = [&](uint32_t count) {
    std::string bytes = readFile(weights(package));
    llvm::support::endian::write32le(bytes.data(), count);
    writeFile(weights(package), bytes);
  };
  uint32_t count = llvm::support::endian::read32le(readFile(weights(package)).data());
  setCount(count);
  EXPECT_FALSE(breaks(package, "weight-count"));
  setCount(count - 1);
  EXPECT_TRUE(breaks(package, "weight-count"));
  setCount(count + 1);
  EXPECT_TRUE(breaks(package, "weight-count"));
  expectRepaired(package, "weight-count");
}

TEST_F(DoctorPackages, UnusedWeights) {
  std::string package = good();
  EXPECT_FALSE(breaks(package, "unused-weights"));
  EXPECT_EQ(plaitCommand({"remove", package, "b", "-q"}).status, 0);
  EXPECT_TRUE(breaks(package, "unused-weights"));
  expectRepaired(package, "unused-weights");
}

TEST_F(DoctorPackages, DuplicateWeights) {
  mil::Program program;
  addLinear(program, "a", 0);
  addLinear(program, "b", 0);
  program.defaultFunction = "a";
  std::string shared = folder / "shared.mlpackage", twice = folder / "twice.mlpackage";
  WriteOptions apart;
  apart.share = false;
  ASSERT_FALSE(writePackage(program, shared));
  ASSERT_FALSE(writePackage(program, twice, apart));
  EXPECT_FALSE(breaks(shared, "duplicate-weights"));
  EXPECT_TRUE(breaks(twice, "duplicate-weights"));
  expectRepaired(twice, "duplicate-weights");
}

/// y = x + w, with `bytes` bytes of weights in a file that is mostly a hole.
std::string packageOf(const TemporaryFolder &folder, uint64_t bytes, unsigned functions) {
  std::string text = "program(1.3)\n[defaultFunction = string(\"f0\")]\n{\n";
  for (unsigned i = 0; i < functions; ++i)
    text += fmt::format(
        "func f{0}<ios18>(tensor<fp16, [1]> x) {{\n"
        "tensor<uint8, [1, {1}]> w = const()[val = tensor<uint8, [1, {1}]>(BLOBFILE(path = "
        "string(\"@model_path/weights.bin\"), offset = uint64(64)))];\n"
        "tensor<fp16, [1]> y = relu(x = x);\n}} -> (y);\n",
        i, bytes);
  std::string folderOf = folder / fmt::format("w{0}x{1}.mlmodelc", bytes, functions);
  writeFile(folderOf + "/model.mil", text + "}\n");
  std::string header(128, 0);
  WeightRecord file = encodeWeightHeader(1),
               blob = encodeWeightMetadata({mil::DType::U8, 64, 128, bytes, 0});
  std::copy(file.begin(), file.end(), header.begin());
  std::copy(blob.begin(), blob.end(), header.begin() + 64);
  writeFile(folderOf + "/weights.bin", header);
  int fd = -1;
  EXPECT_FALSE(llvm::sys::fs::openFileForWrite(folderOf + "/weights.bin", fd,
                                               llvm::sys::fs::CD_OpenExisting));
  EXPECT_FALSE(llvm::sys::fs::resize_file(fd, 128 + bytes));
  llvm::sys::Process::SafelyCloseFileDescriptor(fd);
  return folderOf;
}

TEST_F(DoctorPackages, LargeFiles) {
  constexpr uint64_t gibibyte = uint64_t(1) << 30;
  EXPECT_FALSE(breaks(packageOf(folder, gibibyte - 128, 1), "weight-file-size"));
  EXPECT_TRUE(breaks(packageOf(folder, gibibyte, 1), "weight-file-size"));
  EXPECT_FALSE(breaks(packageOf(folder, gibibyte / 2, 2), "functions-memory"));
  EXPECT_TRUE(breaks(packageOf(folder, gibibyte / 2, 3), "functions-memory"));
}

TEST_F(DoctorPackages, InlineWeights) {
  auto text = [](unsigned count) {
    std::string zeros = "0";
    for (unsigned i = 1; i < count; ++i)
      zeros += ", 0";
    return fmt::format("program(1.3)\n{{\nfunc main<ios18>(tensor<fp32, [1]> x) {{\n"
                       "tensor<fp32, [{0}]> y = add(x = x, y = tensor<fp32, [{0}]>([{1}]));\n}} "
                       "-> (y);\n}}\n",
                       count, zeros);
  };
  writeFile(folder / "breaks.mil", text(16384));
  EXPECT_TRUE(breaks(folder / "breaks.mil", "inline-weights"));
  writeFile(folder / "near.mil", text(16383));
  EXPECT_FALSE(breaks(folder / "near.mil", "inline-weights"));
  expectRepaired(folder / "breaks.mil", "inline-weights");
}

// ---- what can be looked at
// -----------------------------------------------------------------------

TEST_F(DoctorPackages, CompiledModels) {
  writeFile(folder / "m.mlmodelc/model.mil", readCase("pow-of-two").breaking);
  writeFile(folder / "m.mlmodelc/metadata.json", "[{\"author\": \"somebody\"}]");
  auto diagnosis = diagnose(folder / "m.mlmodelc");
  ASSERT_TRUE(bool(diagnosis));
  EXPECT_EQ(diagnosis->form, Diagnosis::Compiled);
  EXPECT_THAT(rulesOf(folder / "m.mlmodelc"), testing::ElementsAre("pow-of-two"));
  writeFile(folder / "m.mlmodelc/model.mil", "program(1.0)\n{ what is this");
  EXPECT_THAT(rulesOf(folder / "m.mlmodelc"), testing::ElementsAre("package-readable"));
}

TEST_F(DoctorPackages, RefusesByName) {
  auto refusal = [&](llvm::StringRef path) {
    auto diagnosis = diagnose(path);
    return diagnosis ? std::string("none") : toString(diagnosis.takeError());
  };
  writeFile(folder / "n.mlmodelc/model.espresso.net", "{}");
  EXPECT_THAT(refusal(folder / "n.mlmodelc"), HasSubstr("a compiled neural network"));
  writeFile(folder / "l.mlmodelc/model0/model.mil", "");
  EXPECT_THAT(refusal(folder / "l.mlmodelc"), HasSubstr("a compiled pipeline"));
  writeFile(folder / "c.mlmodelc/coremldata.bin", "");
  EXPECT_THAT(refusal(folder / "c.mlmodelc"), HasSubstr("holds no program"));
  writeFile(folder / "folder/file", "");
  EXPECT_THAT(refusal(folder / "folder"), HasSubstr("neither a package"));
  writeFile(folder / "old.mlmodel", "");
  EXPECT_THAT(refusal(folder / "old.mlmodel"), HasSubstr("save it as an .mlpackage"));
  writeFile(folder / "model.pt", "");
  EXPECT_THAT(refusal(folder / "model.pt"), HasSubstr("is no package"));
  EXPECT_THAT(refusal(folder / "nothing"), HasSubstr("there is no such"));
}

// ---- the command
// ---------------------------------------------------------------------------------

struct DoctorCommand : DoctorPackages {
  /// A package that breaks two rules, with the places of its operations.
  std::string placed() {
    auto package = parseText(readCase("pow-of-two").breaking, "m.mil");
    mil::Op *op = (*package).program->functions()[0]->outputs()[0]->def();
    op->location = mil::Location(mil::Name("head"), mil::Name("net.py:12 in forward: y = 2 ** x"),
                                 mil::Name("aten::pow"));
    std::string path = folder / "placed.mlpackage";
    WriteOptions options;
    options.debugInfo = true;
    EXPECT_FALSE(bool(writePackage(*(*package).program, path, options)));
    return path;
  }
};

TEST_F(DoctorCommand, SaysWhatWhereAndTheWayOut) {
  CommandResult result = plaitCommand({"doctor", placed()});
  EXPECT_EQ(result.status, 0) << result.err; // risky
  for (const char *text :
       {"1 function, 2 operations: 0 refused, 1 risky, 0 elsewhere",
        "risky     pow-of-two: the base of pow is not the constant 2 [P0602]\n",
        "  main: operation 'y' (pow) at head at net.py:12 in forward: y = 2 ** x: 2 to the power "
        "of",
        "way out: use exp2, or exp of the exponent times ln 2 (--fix does, up to rounding)",
        "https://github.com/apple/coremltools/pull/2628"})
    EXPECT_THAT(result.out, HasSubstr(text));
}

TEST_F(DoctorCommand, ExitStatus) {
  std::string package = placed();
  EXPECT_EQ(plaitCommand({"doctor", package, "--fail-on", "risky"}).status, 1);
  EXPECT_EQ(plaitCommand({"doctor", package, "--fail-on", "elsewhere"}).status, 1);
  EXPECT_EQ(
      plaitCommand({"doctor", package, "--fail-on", "risky", "--ignore", "pow-of-two"}).status, 0);
  EXPECT_EQ(plaitCommand({"doctor", good()}).status, 0);
  EXPECT_EQ(plaitCommand({"doctor", good("q"), "--fail-on", "elsewhere"}).status, 1);
  EXPECT_EQ(plaitCommand({"doctor", good("q"), "--fail-on", "nothing"}).status, 0);
  writeFile(folder / "refused.mil", readCase("defaults-written").breaking);
  EXPECT_EQ(plaitCommand({"doctor", folder / "refused.mil"}).status, 1);
  EXPECT_EQ(plaitCommand({"doctor", folder / "none.mlpackage"}).status, 1);
  EXPECT_EQ(plaitCommand({"doctor"}).status, 2);
  EXPECT_EQ(plaitCommand({"doctor", package, "-o", folder / "o.mlpackage"}).status, 2);
  EXPECT_EQ(plaitCommand({"doctor", package, "--fix"}).status, 2);
  EXPECT_EQ(plaitCommand({"doctor", package, "--json", "--format", "github"}).status, 2);
  CommandResult wrong = plaitCommand({"doctor", package, "--ignore", "pow-of-too"});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.err, HasSubstr("did you mean 'pow-of-two'?"));
}

TEST_F(DoctorCommand, Json) {
  auto parsed = llvm::json::parse(plaitCommand({"doctor", placed(), "--json"}).out);
  ASSERT_TRUE(bool(parsed));
  const llvm::json::Object &root = *parsed->getAsObject();
  EXPECT_EQ(root.getInteger("version"), 1);
  EXPECT_EQ(root.getString("form"), llvm::StringRef("mlpackage"));
  EXPECT_EQ(root.getInteger("risky"), 1);
  const llvm::json::Object &finding = *(*root.getArray("findings"))[0].getAsObject();
  EXPECT_EQ(finding.getString("rule"), llvm::StringRef("pow-of-two"));
  EXPECT_EQ(finding.getString("code"), llvm::StringRef("P0602"));
  EXPECT_EQ(finding.getString("module"), llvm::StringRef("head"));
  EXPECT_EQ(finding.getString("file"), llvm::StringRef("net.py"));
  EXPECT_EQ(finding.getInteger("line"), 12);
  EXPECT_EQ(finding.getArray("sources")->size(), 2u);
  auto rules = llvm::json::parse(plaitCommand({"doctor", "--list-rules", "--json"}).out);
  ASSERT_TRUE(bool(rules));
  EXPECT_EQ(rules->getAsObject()->getArray("rules")->size(), mil::listRules().size());
}

TEST_F(DoctorCommand, Annotations) {
  EXPECT_THAT(plaitCommand({"doctor", placed(), "--format", "github"}).out,
              testing::StartsWith(
                  "::warning file=net.py,line=12,title=pow-of-two [P0602]::main: operation"));
  std::string package = good("a, b");
  EXPECT_THAT(plaitCommand({"doctor", package, "--format", "github"}).out,
              HasSubstr("/a%2C b.mlpackage,title=engine-precision [P0602]::a: operation"));
}

TEST_F(DoctorCommand, FixesInPlace) {
  std::string package = placed();
  CommandResult result = plaitCommand({"doctor", package, "--fix", "-o", package});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("0 refused, 0 risky"));
  EXPECT_FALSE(breaks(package, "pow-of-two"));
}

/// A package of an older opset stays one.
TEST_F(DoctorCommand, FixesAtItsOwnOpset) {
  auto package = parseText("program(1.3)\n{\nfunc main<ios16>(tensor<fp32, [2]> x) {\n"
                           "tensor<fp32, [2]> y = pow(x = fp32(2), y = x);\n} -> (y);\n}\n",
                           "m.mil");
  ASSERT_TRUE(bool(package));
  std::string path = folder / "old.mlpackage";
  ASSERT_FALSE(writePackage(*(*package).program, path));
  auto repaired = repair({path, path});
  ASSERT_TRUE(bool(repaired)) << toString(repaired.takeError());
  EXPECT_FALSE(breaks(path, "pow-of-two"));
  EXPECT_EQ((*readPackage(path))->functions()[0]->opset, mil::Opset::iOS16);
}

// ---- the table
// -----------------------------------------------------------------------------------

constexpr const char *kIntroduction = R"(# Rules

What `plait doctor` looks for, as `mil/DeviceRules.def` has it and in its order. Made from the table by a test
(`UPDATE_GOLDEN=1`). Each rule has a program that breaks it and one that nearly does in `tests/golden/rules`, or packages
in `tests/driver/DoctorTest.cpp`.

- **refused** does not load or compile. **risky** fails or is wrong on some systems. **elsewhere** is right, but does not
  run on the Neural Engine, or takes more room than it need.
- **found** says from what: the *interface* of a function, each *operation*, the files of the *package*.
- **compile**: `plait compile`, `add`, `merge` and `compress` check it too, before anything is written.
- **fix**: what `--fix` rewrites, *exact*ly or up to *rounding*. Some forms may be left; what is said afterwards is of the
  new package.

| rule | severity | what is allowed | the way out | found | compile | fix | sources |
|---|---|---|---|---|---|---|---|
)";

std::string page() {
  static constexpr const char *found[] = {"interface", "operation", "package"};
  static constexpr const char *repairs[] = {"", "exact", "rounding"};
  std::string text = kIntroduction;
  for (const mil::Rule &rule : mil::listRules()) {
    std::string sources;
    for (llvm::StringRef address : llvm::split(rule.source, ' ')) {
      llvm::StringRef shown = address;
      shown.consume_front("https://");
      shown.consume_front("github.com/");
      auto [start, last] = shown.rsplit('/');
      bool isIssue = start.ends_with("/issues") || start.ends_with("/pull");
      sources +=
          fmt::format("{0}[{1}]({2})", sources.empty() ? "" : "<br>",
                      isIssue ? shown.split('/').second.split('/').first.str() + " " + last.str()
                      : shown.split('/').first.contains('.') ? shown.split('/').first.str()
                                                             : shown.rsplit('/').second.str(),
                      address);
    }
    text +=
        fmt::format("| `{0}` | {1} | {2} | {3} | {4} | {5} | {6} | {7} |\n", rule.id,
                    mil::name(rule.severity), rule.text, rule.remedy, found[rule.found],
                    rule.level == mil::Rule::Profile ? "yes" : "", repairs[rule.repair], sources);
  }
  return text;
}

TEST(DoctorTable, ThePageIsTheTable) { expectPage("docs/rules.md", page()); }

TEST(DoctorTable, RulesAreDescribed) {
  for (const mil::Rule &rule : mil::listRules()) {
    EXPECT_FALSE(llvm::StringRef(rule.text).empty() || llvm::StringRef(rule.remedy).empty());
    for (llvm::StringRef address : llvm::split(rule.source, ' '))
      EXPECT_TRUE(address.starts_with("https://")) << rule.id << ": " << address.str();
  }
  EXPECT_GE(mil::listRules().size(), 40u);
}

} // namespace
