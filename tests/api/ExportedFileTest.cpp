// Archives of torch.export by the library: one model, one of several, with states, ranges and an
// adapter's options, beside TorchScript, added to a package that is there, and what is refused.
// The files are those that torch 2.13 wrote, with what it computed (tests/driver/releases).
#include "ApiTestUtils.h"
#include "runtime/Tensors.h"
#include "runtime/arrays/Npy.h"
#include "tests/ReleaseFiles.h"
#include "tests/SourceDir.h"

#include <torch/csrc/jit/api/module.h>

using namespace plait;
using plait::test::close;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

class ExportedFile : public plait::test::ApiTest {
protected:
  void SetUp() override {
    ApiTest::SetUp();
    auto index = unpackRelease(sourcePath("tests/driver/releases/torch-2.13.0.zip"), at(""));
    ASSERT_TRUE(bool(index)) << toString(index.takeError());
  }

  /// One array of a run: ("cache", 0, "input_0").
  at::Tensor array(const std::string &model, int run, const std::string &name) {
    auto data = runtime::readNpy(at(fmt::format("{0}/{1}/{2}.npy", model, run, name)));
    EXPECT_TRUE(bool(data)) << toString(data.takeError());
    return llvm::cantFail(runtime::toTensor(*data, runtime::Compute::Float32, nullptr)).clone();
  }

  /// The function's inputs of a run, by the names that the package has.
  std::map<std::string, at::Tensor> inputs(const FunctionInfo &function, const std::string &model,
                                           int run) {
    std::map<std::string, at::Tensor> arrays;
    for (const ValueInfo &input : function.inputs)
      arrays[input.name] = array(model, run, "input_" + std::to_string(arrays.size()));
    return arrays;
  }

  static FunctionInfo info(const Program &program, const std::string &name) {
    for (const FunctionInfo &function : program.functions())
      if (function.name == name)
        return function;
    throw std::logic_error("no function " + name);
  }

  /// Every run of the case, on the same states, gives what torch gave.
  void check(const std::string &package, const std::string &function, const std::string &model,
             int runs) {
    Program program(package);
    const FunctionInfo described = info(program, function);
    Session session = program.session(function);
    for (int step = 0; step < runs; ++step) {
      auto results = plait::run(session, inputs(described, model, step));
      ASSERT_EQ(results.size(), described.outputs.size());
      for (size_t i = 0; i < described.outputs.size(); ++i)
        EXPECT_TRUE(close(results.at(described.outputs[i].name),
                          array(model, step, "output_" + std::to_string(i)), 1e-4))
            << model << ", run " << step << ", " << described.outputs[i].name;
    }
  }
};

TEST_F(ExportedFile, KnowsItsInputs) {
  Compiler compiler = inFp32();
  compiler.addFile("stack", at("stack.pt2"));
  compiler.addFile("batch", at("batch.pt2"));
  compiler.write(at("m.mlpackage"));
  check(at("m.mlpackage"), "stack", "stack", 1);
  check(at("m.mlpackage"), "batch", "batch", 2);
  Program program(at("m.mlpackage"));
  const ValueInfo input = info(program, "batch").inputs.front();
  EXPECT_LT(input.shape[0].lower, input.shape[0].upper) << "a size that was exported as one";
}

TEST_F(ExportedFile, OneModelOfSeveral) {
  Compiler compiler = inFp32();
  compiler.addFile("first", at("two.pt2:one"));
  compiler.addFile("second", at("two.pt2:two"));
  compiler.write(at("m.mlpackage"));
  check(at("m.mlpackage"), "first", "two_one", 1);
  check(at("m.mlpackage"), "second", "two_two", 1);
  EXPECT_THAT(message([&] { compiler.addFile("third", at("two.pt2:three")); }),
              testing::AllOf(HasSubstr("three"), HasSubstr("one"), HasSubstr("two")));
  EXPECT_THAT(compiler.functions(), ElementsAre("first", "second"));
}

TEST_F(ExportedFile, StatesGoOnFromRunToRun) {
  Compiler compiler = inFp32();
  compiler.addFile("cache", at("cache.pt2"), {.states = {"keys=fp16[4, 3]", "count=fp16[1]"}});
  Report report = compiler.write(at("m.mlpackage"));
  EXPECT_EQ(report.functions[0].states.size(), 2u);
  check(at("m.mlpackage"), "cache", "cache", 2);
}

TEST_F(ExportedFile, SharesWithWhatIsInThePackage) {
  torch::jit::Module script("Scaled");
  script.register_parameter("weight", at::randn({3, 8}), /*is_buffer=*/false);
  script.define("def forward(self, x):\n    return torch.matmul(x, self.weight.t())\n");
  Compiler compiler;
  add(compiler, "script", script, {.input = {"x=[2, 8]"}});
  compiler.addFile("any_rows", at("batch.pt2"));
  compiler.write(at("m.mlpackage"));
  int64_t rows = info(Program(at("m.mlpackage")), "any_rows").inputs[0].shape[0].lower;

  Compiler more;
  more.addFile("fewest_rows", at("batch.pt2"), {.input = {fmt::format("x=[{0}, 8]", rows)}});
  Report added = more.addTo(at("m.mlpackage"));
  EXPECT_EQ(added.functions[0].ownBytes, 0u);
  EXPECT_GT(added.functions[0].sharedBytes, 0u);
  EXPECT_EQ(Program(at("m.mlpackage")).functions().size(), 3u);
}

TEST_F(ExportedFile, VerifiesAgainstTheArchive) {
  Compiler compiler;
  compiler.addFile("stack", at("stack.pt2"));
  compiler.write(at("m.mlpackage"));
  Program program(at("m.mlpackage"));
  EXPECT_TRUE(verify(program, "stack", at("stack.pt2")).passed);
}

TEST_F(ExportedFile, WhatItWasNotExportedForIsRefusedWhenAdded) {
  Compiler compiler;
  EXPECT_THAT(message([&] { compiler.addFile("f", at("stack.pt2"), {.input = {"x=[7, 9]"}}); }),
              HasSubstr("the model was exported for"));
  EXPECT_THAT(message([&] { compiler.addFile("f", at("stack.pt2"), {.method = "encode"}); }),
              HasSubstr("no method 'encode'"));
  EXPECT_TRUE(compiler.functions().empty());
}

} // namespace
