// Where operations come from, beside a package: written, read back, kept when functions come and
// go, and ignored or refused where it does not fit.
#include "backend/DebugInfo.h"
#include "backend/PackageEdit.h"
#include "backend/PackageReader.h"
#include "mil/Builder.h"
#include "support/NewFile.h"
#include "tests/FolderTest.h"

#include "llvm/Support/FileSystem.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;
namespace fs = llvm::sys::fs;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

class DebugInfo : public FolderTest {
protected:
  std::string sideFile(const llvm::Twine &package) const {
    return at(package + "/Data/com.apple.CoreML/plait-debug.json");
  }
};

/// relu(linear(x)) in module `module`, with a bias that was computed from another parameter.
void addFunction(Program &program, llvm::StringRef name, const std::string &module) {
  Function *function = program.addFunction(name);
  Value *x = function->addInput(Type::tensor(DType::F32, {Dim(2), Dim(16)}), "x");
  Builder b(function->body());
  b.setLocation(Location(module, "model.py:7 in forward: y = \"f\"(x)", "aten::linear"));
  auto numbers = [](llvm::ArrayRef<int64_t> shape, Origin origin) {
    std::vector<float> values(numElements(shape), 1.5);
    values[1] = 2;
    return TensorData::from<float>(DType::F32, shape, values).withOrigin(origin);
  };
  Value *y =
      b.emit(OpKind::linear,
             {{linear::x, x},
              {linear::weight,
               Attr(numbers({16, 16}, Origin::parameter({module + ".weight", "tied.weight"})))},
              {linear::bias, Attr(numbers({16}, Origin::computed({module + ".raw"})))}});
  b.setLocation(Location("", "model.py:9", "aten::relu"));
  function->body().setOutputs({b.emit(OpKind::relu, {{relu::x, y}}, "y")});
}

/// "linear: encoder at model.py…; weight: …" of all operations of a function.
std::vector<std::string> told(const Program &program, llvm::StringRef name) {
  std::vector<std::string> lines;
  walk(program.function(name)->body(), [&](Op &op) {
    if (op.is(OpKind::const_)) {
      Origin origin = op.val().tensor() ? originOf(*op.val().tensor()) : Origin();
      for (llvm::StringRef path : origin.paths())
        lines.push_back((origin.isComputed() ? "from " : "is ") + path.str());
    } else {
      lines.push_back(op.location.op() + ": " + op.location.str());
    }
  });
  return lines;
}

const std::vector<std::string> expected{
    "is encoder.weight", "is tied.weight", "from encoder.raw",
    "aten::linear: encoder at model.py:7 in forward: y = \"f\"(x)", "aten::relu: model.py:9"};

TEST_F(DebugInfo, IsReadBack) {
  Program program;
  addFunction(program, "main", "encoder");
  WriteOptions options;
  options.debugInfo = true;
  llvm::cantFail(writePackage(program, at("p.mlpackage"), options));
  auto read = llvm::cantFail(openPackage(at("p.mlpackage")));
  EXPECT_EQ(told(*read.program, "main"), expected);
  EXPECT_TRUE(hasDebugInfo(*read.program));
  // What is written anew from it is the same.
  llvm::cantFail(writePackage(*read.program, at("q.mlpackage"), options));
  EXPECT_EQ(get(sideFile("q.mlpackage")), get(sideFile("p.mlpackage")));
}

TEST_F(DebugInfo, IsNotWrittenUnlessAskedFor) {
  Program program;
  addFunction(program, "main", "encoder");
  llvm::cantFail(writePackage(program, at("p.mlpackage")));
  EXPECT_FALSE(fs::exists(sideFile("p.mlpackage")));
  auto read = llvm::cantFail(openPackage(at("p.mlpackage")));
  EXPECT_FALSE(hasDebugInfo(*read.program));
  // The rest does not depend on it.
  WriteOptions options;
  options.debugInfo = true;
  llvm::cantFail(writePackage(program, at("q.mlpackage"), options));
  for (const char *file : {"/Manifest.json", "/Data/com.apple.CoreML/model.mlmodel",
                           "/Data/com.apple.CoreML/weights/weight.bin"})
    EXPECT_EQ(get(at(std::string("p.mlpackage") + file)),
              get(at(std::string("q.mlpackage") + file)));
  // Weights without names are weights.
  bool found = false;
  walk(read.program->function("main")->body(), [&](Op &op) {
    if (op.is(OpKind::const_) && op.val().tensor() && op.val().tensor()->rank() == 2)
      found = isWeight(*op.val().tensor());
  });
  EXPECT_TRUE(found);
}

TEST_F(DebugInfo, FollowsFunctions) {
  Program program;
  addFunction(program, "main", "encoder");
  program.defaultFunction = "main";
  WriteOptions options;
  options.debugInfo = true;
  llvm::cantFail(writePackage(program, at("p.mlpackage"), options));
  Program more;
  addFunction(more, "other", "decoder");
  llvm::cantFail(addFunctions(more, at("p.mlpackage")));
  auto both = llvm::cantFail(openPackage(at("p.mlpackage")));
  EXPECT_EQ(told(*both.program, "main"), expected);
  EXPECT_EQ(told(*both.program, "other")[0], "is decoder.weight");
  llvm::cantFail(removeFunctions(at("p.mlpackage"), {"other"}));
  EXPECT_THAT(get(sideFile("p.mlpackage")), testing::Not(HasSubstr("decoder")));
  EXPECT_EQ(told(*llvm::cantFail(openPackage(at("p.mlpackage"))).program, "main"), expected);
}

TEST_F(DebugInfo, ThatDoesNotFitIsIgnoredOrRefused) {
  Program program;
  addFunction(program, "main", "encoder");
  llvm::cantFail(writePackage(program, at("p.mlpackage")));
  auto with = [&](llvm::StringRef text) {
    llvm::cantFail(writeNewFile(sideFile("p.mlpackage"), text, /*flush=*/false));
    auto read = openPackage(at("p.mlpackage"));
    return read ? "read" : llvm::toString(read.takeError());
  };
  EXPECT_EQ(with(R"({"version": 1, "functions": {"other": {}, "main": 3}})"), "read");
  EXPECT_EQ(with(R"({"version": 1, "functions": {"main": {"places": [[1, "a"], 2, ["m", "s", "o"]],
                     "operations": {"y": 7, "x": -1, "gone": 0}, "parameters": {"y": [1, ""]}}}})"),
            "read");
  EXPECT_THAT(with("{"), HasSubstr("delete it"));
  EXPECT_THAT(with(R"({"version": 2, "functions": {}})"), HasSubstr("its version is not 1"));
  EXPECT_THAT(with(R"({"version": 1})"), HasSubstr("it has no functions"));
}

} // namespace
