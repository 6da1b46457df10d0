// Programs in text form with weights beside them: what plait writes reads back, and what Core ML's
// compiler writes (the folders here are made in its style) reads as the package did.
#include "backend/TextModel.h"
#include "tests/FolderTest.h"
#include "tests/SourceDir.h"

#include "backend/Inspect.h"
#include "backend/PackageWriter.h"
#include "backend/WeightWriter.h"
#include "mil/Builder.h"
#include "mil/Printer.h"
#include "mil/Verifier.h"
#include "support/OutputFile.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;
namespace fs = llvm::sys::fs;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

namespace {

class TextModelTest : public FolderTest {
protected:
  void put(const llvm::Twine &name, llvm::StringRef bytes) const {
    std::error_code ec;
    llvm::raw_fd_ostream out(at(name), ec);
    ASSERT_FALSE(ec);
    out << bytes;
  }
  std::string failure(const llvm::Twine &name) const {
    return llvm::toString(openPackage(at(name)).takeError());
  }
  void expectSamePackages(llvm::StringRef a, llvm::StringRef b) const {
    for (const char *file : {"model.mlmodel", "weights/weight.bin"})
      EXPECT_EQ(get(at(a + "/Data/com.apple.CoreML/" + file)),
                get(at(b + "/Data/com.apple.CoreML/" + file)))
          << file;
  }
};

TensorData ramp(llvm::ArrayRef<int64_t> shape, double step) {
  std::vector<double> values;
  for (int64_t i = 0; i < numElements(shape); ++i)
    values.push_back(step * double(i % 50));
  return TensorData::from<double>(DType::F64, shape, values).cast(DType::F16);
}

/// Two functions that share a weight, one of a flexible input, one of enumerated shapes.
std::unique_ptr<Program> program() {
  auto result = std::make_unique<Program>();
  for (auto [name, bias] : {std::pair("first", 0.5), std::pair("second", 0.25)}) {
    Function &f = *result->addFunction(name);
    Value *x = f.addInput(Type::tensor(DType::F16, Shape{Dim::symbol("x_0", 2, 64), Dim(32)}), "x");
    f.inputInfo.resize(1);
    f.inputInfo[0].defaultShape = {8, 32};
    if (name == std::string("second"))
      f.inputInfo[0].enumeratedShapes = {{8, 32}, {2, 32}, {64, 32}};
    Builder b(f.body());
    Value *y = b.emit(OpKind::linear,
                      {{linear::x, x},
                       {linear::weight, Attr(ramp({24, 32}, 0.125))},
                       {linear::bias, Attr(ramp({24}, bias))}},
                      "y");
    f.body().setOutputs(b.emit(OpKind::relu, {{relu::x, y}}, "r"));
    EXPECT_FALSE(b.failed());
  }
  result->defaultFunction = "second";
  result->metadata.author = "someone \"else\"";
  result->metadata.userDefined = {{"com.example.key", "value\nof two lines"}};
  return result;
}

TEST_F(TextModelTest, RoundTrips) {
  llvm::cantFail(writePackage(*program(), at("a.mlpackage")));
  auto package = llvm::cantFail(openPackage(at("a.mlpackage")));
  llvm::cantFail(writeTextModel(*package.program, at("a.mil"), nullptr));
  std::string text = get(at("a.mil"));
  EXPECT_THAT(
      text,
      HasSubstr("BLOBFILE(path = string(\"@model_path/a.weights.bin\"), offset = uint64(64))"));
  EXPECT_THAT(text, HasSubstr("(\"RangeDims\", {{\"x\", [[2, 64], [32, 32]]}})"));
  EXPECT_THAT(text, HasSubstr("(\"EnumeratedShapes\", {{\"0\", {{\"x\", [8, 32]}}}, "
                              "{\"1\", {{\"x\", [2, 32]}}}, {\"2\", {{\"x\", [64, 32]}}}})"));
  auto read = llvm::cantFail(openPackage(at("a.mil")));
  EXPECT_EQ(llvm::toString(verify(*read.program)), "");
  EXPECT_TRUE(read.program->attributes.empty());
  EXPECT_EQ(read.specificationVersion, 9);
  llvm::cantFail(writePackage(*read.program, at("b.mlpackage")));
  expectSamePackages("a.mlpackage", "b.mlpackage");
  // Onto itself, while its weights are mapped.
  llvm::cantFail(writeTextModel(*read.program, at("a.mil"), nullptr));
  EXPECT_EQ(get(at("a.mil")), text);
  std::error_code ec;
  unsigned files = 0;
  for (fs::directory_iterator it(folder, ec), end; it != end && !ec; it.increment(ec))
    ++files;
  EXPECT_EQ(files, 4u) << "two packages, a text and its weights";
}

/// Literals of compressed constants stand in one order, so their places in the weight file do too.
TEST_F(TextModelTest, PeerPackagesRoundTrip) {
  for (const char *name : {"enumerated", "int4_blocks", "loop", "quantized16", "state"}) {
    SCOPED_TRACE(name);
    std::string peer = sourcePath("tests/backend/peer/") + name + ".mlpackage";
    auto package = llvm::cantFail(openPackage(peer));
    llvm::cantFail(writePackage(*package.program, at("a.mlpackage")));
    llvm::cantFail(writeTextModel(*package.program, at("a.mil"), nullptr));
    auto read = llvm::cantFail(openPackage(at("a.mil")));
    llvm::cantFail(writePackage(*read.program, at("b.mlpackage")));
    expectSamePackages("a.mlpackage", "b.mlpackage");
  }
}

TEST_F(TextModelTest, SmallProgramsHaveNoWeightFile) {
  Program small;
  Function &f = *small.addFunction("main");
  Value *x = f.addInput(Type::tensor(DType::F16, {1, 4}), "x");
  Builder b(f.body());
  f.body().setOutputs(b.emit(OpKind::add, {{add::x, x}, {add::y, Attr(ramp({4}, 1).scale(0.5))}}));
  llvm::cantFail(writeTextModel(small, at("s.mil"), nullptr));
  EXPECT_FALSE(fs::exists(at("s.weights.bin")));
  EXPECT_THAT(get(at("s.mil")), HasSubstr("([0x0p+0, 0x1p-1, 0x1p+0, 0x1.8p+0])")); // evaluated
}

TEST_F(TextModelTest, UnwritablePath) {
  EXPECT_THAT(llvm::toString(writeTextModel(*program(), at("none/a.mil"), nullptr)),
              HasSubstr("cannot write"));
  // What is no file keeps its name, and nothing is left beside it.
  ASSERT_FALSE(fs::create_directory(at("folder.mil")));
  EXPECT_THAT(llvm::toString(writeTextModel(*program(), at("folder.mil"), nullptr)),
              HasSubstr("it is there and no regular file"));
  ASSERT_FALSE(fs::create_directory(at("b.weights.bin")));
  EXPECT_THAT(llvm::toString(writeTextModel(*program(), at("b.mil"), nullptr)),
              HasSubstr("b.weights.bin': it is there and no regular file"));
  std::error_code ec;
  std::vector<std::string> names;
  for (fs::directory_iterator it(folder, ec), end; it != end && !ec; it.increment(ec))
    names.push_back(llvm::sys::path::filename(it->path()).str());
  EXPECT_THAT(names, testing::UnorderedElementsAre("folder.mil", "b.weights.bin"));
}

// ---- Compiled models ----------------------------------------------------------------------------

// As Core ML's compiler writes it for iOS16 and iOS17: version 1.0, scalars as tensors of no
// dimensions, operands sorted by name, twelve spaces before statements.
constexpr const char *compiledText = R"(program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-component-MIL", "3304.5.2"}, {"coremlc-version", "3304.6.2"}, {"coremltools-component-torch", "2.2.0"}, {"coremltools-source-dialect", "TorchScript"}, {"coremltools-version", "8.1"}})]
{
    func main<ios17>(tensor<int32, [1, ?]> ids, tensor<fp16, [1, 4]> scale) [FlexibleShapeInformation = tuple<tuple<tensor<string, []>, dict<tensor<string, []>, tensor<int32, [?]>>>, tuple<tensor<string, []>, dict<tensor<string, []>, list<tensor<int32, [2]>, ?>>>>((("DefaultShapes", {{"ids", [1, 7]}}), ("RangeDims", {{"ids", [[1, 1], [1, 128]]}})))] {
            tensor<int32, []> table_axis_0 = const()[name = tensor<string, []>("table_axis_0"), val = tensor<int32, []>(0)];
            tensor<int32, []> table_batch_dims_0 = const()[name = tensor<string, []>("table_batch_dims_0"), val = tensor<int32, []>(0)];
            tensor<bool, []> table_validate_indices_0 = const()[name = tensor<string, []>("table_validate_indices_0"), val = tensor<bool, []>(false)];
            tensor<fp16, [20, 4]> table_to_fp16 = const()[name = tensor<string, []>("table_to_fp16"), val = tensor<fp16, [20, 4]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin"), offset = tensor<uint64, []>(64)))];
            tensor<fp16, [1, ?, 4]> rows_cast_fp16 = gather(axis = table_axis_0, batch_dims = table_batch_dims_0, indices = ids, validate_indices = table_validate_indices_0, x = table_to_fp16)[name = tensor<string, []>("rows_cast_fp16")];
            tensor<fp16, [1, ?, 4]> rows = mul(x = rows_cast_fp16, y = scale)[name = tensor<string, []>("rows")];
        } -> (rows);
})";

class CompiledModel : public TextModelTest {
protected:
  void SetUp() override {
    TextModelTest::SetUp();
    ASSERT_FALSE(fs::create_directories(at("m.mlmodelc/weights")));
    put("m.mlmodelc/model.mil", compiledText);
    put("m.mlmodelc/coremldata.bin", "\x01\x02");
    put("m.mlmodelc/metadata.json", R"([
  {
    "metadataOutputVersion" : "3.0",
    "shortDescription" : "Rows of a table",
    "author" : "someone",
    "outputSchema" : [ { "dataType" : "Float16", "name" : "rows", "type" : "MultiArray" } ],
    "specificationVersion" : 8,
    "mlProgramOperationTypeHistogram" : { "Ios17.gather" : 1, "Ios17.mul" : 1 },
    "userDefinedMetadata" : { "com.github.apple.coremltools.version" : "8.1" },
    "generatedClassName" : "m",
    "method" : "predict"
  }
])");
    OutputFile weights = llvm::cantFail(OutputFile::create(at("m.mlmodelc/weights/weight.bin")));
    llvm::cantFail(writeWeights(weights, {{ramp({20, 4}, 0.5)}}, 1, nullptr));
  }
};

TEST_F(CompiledModel, IsReadAsAPackageIs) {
  auto package = openPackage(at("m.mlmodelc"));
  ASSERT_TRUE(bool(package)) << llvm::toString(package.takeError());
  EXPECT_EQ(llvm::toString(verify(*package->program)), "");
  EXPECT_EQ(package->specificationVersion, 8);
  EXPECT_EQ(package->weights.size(), 1u);
  EXPECT_EQ(package->program->metadata.author, "someone");
  EXPECT_EQ(package->program->metadata.description, "Rows of a table");
  EXPECT_EQ(package->program->metadata.userDefined.size(), 1u);
  EXPECT_EQ(package->program->defaultFunction, "");
  const Function &main = *package->program->functions()[0];
  EXPECT_EQ(main.opset, Opset::iOS17);
  const Dim &length = main.inputs()[0]->type.shape()[1];
  EXPECT_EQ(length.upper(), 128);
  EXPECT_THAT(main.inputInfo[0].defaultShape, ElementsAre(1, 7));
  EXPECT_TRUE(main.outputs()[0]->type.shape()[1] == length);
  // A package of it says the same.
  llvm::cantFail(writePackage(*package->program, at("p.mlpackage")));
  auto again = llvm::cantFail(openPackage(at("p.mlpackage")));
  EXPECT_EQ(toString(*again.program), toString(*package->program));
  PackageSummary summary = llvm::cantFail(inspectPackage(at("m.mlmodelc")));
  EXPECT_EQ(summary.uniqueBytes, 160u);
}

TEST_F(CompiledModel, SeveralFunctionsHaveADefault) {
  std::string text = compiledText;
  std::string second =
      text.substr(text.find("    func "), text.rfind('}') - text.find("    func "));
  second.replace(second.find("main"), 4, "other");
  text.insert(text.find("    func "), second);
  put("m.mlmodelc/model.mil", text);
  EXPECT_EQ(llvm::cantFail(openPackage(at("m.mlmodelc"))).program->defaultFunction, "main");
}

TEST_F(CompiledModel, SaysWhatIsWrong) {
  put("m.mlmodelc/metadata.json", "[");
  EXPECT_THAT(failure("m.mlmodelc"), HasSubstr("metadata.json"));
  put("m.mlmodelc/metadata.json", "[3]");
  EXPECT_THAT(failure("m.mlmodelc"), HasSubstr("describes no model"));
  put("m.mlmodelc/metadata.json", std::string(200000, '['));
  EXPECT_THAT(failure("m.mlmodelc"), HasSubstr("describes no model"));
  fs::remove(at("m.mlmodelc/metadata.json"));
  EXPECT_EQ(failure("m.mlmodelc"), "");

  std::string text = compiledText;
  auto with = [&](llvm::StringRef from, llvm::StringRef to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    put("m.mlmodelc/model.mil", changed);
    return failure("m.mlmodelc");
  };
  EXPECT_THAT(with("(64)", "(128)"), HasSubstr("model.mil:8:"));
  EXPECT_THAT(with("(64)", "(128)"), HasSubstr("no metadata record is there"));
  EXPECT_THAT(with("[20, 4]>(BLOBFILE", "[21, 4]>(BLOBFILE"), HasSubstr("84"));
  EXPECT_THAT(with("weights/weight.bin", "../../weight.bin"), HasSubstr("no path inside"));
  EXPECT_THAT(with("weights/weight.bin", "weights/other.bin"), HasSubstr("other.bin"));
  fs::remove(at("m.mlmodelc/model.mil"));
  EXPECT_THAT(failure("m.mlmodelc"), HasSubstr("not a package"));
}

// What does not fit the inputs is kept as any attribute is.
TEST(FlexibleShapes, OnlyWhatFitsIsTaken) {
  auto attributes = [](const std::string &information) {
    auto package = parseText("program(1.3)\n{\n    func main<ios18>(tensor<fp16, [1, ?]> x) "
                             "[FlexibleShapeInformation = " +
                                 information +
                                 "] {\n        tensor<fp16, [1, ?]> y = relu(x = x)[name = "
                                 "string(\"y\")];\n    } -> (y);\n}\n",
                             "x.mil");
    EXPECT_TRUE(bool(package));
    const Function &f = *package->program->functions()[0];
    return f.attributes.size();
  };
  const std::string type = "tuple<tuple<string, dict<string, tensor<int32, [?]>>>>";
  EXPECT_EQ(attributes(type + "(((\"DefaultShapes\", {{\"x\", [1, 8]}})))"), 0u);
  EXPECT_EQ(attributes(type + "(((\"DefaultShapes\", {{\"x\", [2, 8]}})))"), 1u);
  EXPECT_EQ(attributes(type + "(((\"DefaultShapes\", {{\"z\", [1, 8]}})))"), 1u);
  EXPECT_EQ(attributes(type + "(((\"SomethingElse\", {{\"x\", [1, 8]}})))"), 1u);
  EXPECT_EQ(attributes("string(\"none\")"), 1u);
  const std::string ranges =
      "tuple<tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>>(((\"RangeDims\", {{\"x\", ";
  EXPECT_EQ(attributes(ranges + "[[1, 1], [4, -1]]}})))"), 0u);
  EXPECT_EQ(attributes(ranges + "[[1, 1], [4, 2]]}})))"), 1u);
  EXPECT_EQ(attributes(ranges + "[[1, 1]]}})))"), 1u);
}

} // namespace
