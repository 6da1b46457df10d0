// TorchScript modules in memory, several exports at once, failures, progress and cancelling.
#include "ApiTestUtils.h"

#include "llvm/Support/MemoryBuffer.h"
#include <torch/csrc/jit/api/module.h>

#include <fstream>
#include <thread>

using namespace plait;
using plait::test::close;
using testing::HasSubstr;

namespace {

using ScriptModule = plait::test::ApiTest;

torch::jit::Module scripted(const at::Tensor &weight) {
  torch::jit::Module module("Scripted");
  module.register_parameter("weight", weight, /*is_buffer=*/false);
  module.register_attribute("training", c10::BoolType::get(), true);
  module.define(R"(
    def forward(self, x):
        y = torch.dropout(torch.matmul(x, self.weight.t()), 0.5, self.training)
        return torch.relu(y)
    def logits(self, x):
        return torch.matmul(x, self.weight.t())
    def broken(self, x):
        return torch.linalg_svd(x)
  )");
  return module;
}

TEST_F(ScriptModule, AnyMethodInEvaluationMode) {
  at::Tensor weight = at::randn({16, 8}).requires_grad_();
  torch::jit::Module module = scripted(weight);
  at::Tensor x = at::randn({2, 8});
  Compiler compiler = inFp32();
  add(compiler, "forward", module, {.input = {"x=[2, 8]"}});
  add(compiler, "logits", module, {.input = {"x=[2, 8]"}, .method = "logits"});
  Report report = compiler.write(at("m.mlpackage"));
  EXPECT_EQ(report.functions[1].sharedBytes, (16 * 8 + 16) * 4u) << "with the zero bias";
  EXPECT_EQ(report.functions[1].ownBytes, 0u);
  EXPECT_TRUE(module.is_training());
  EXPECT_TRUE(module.attr("weight").toTensor().is_same(weight));
  at::Tensor logits = x.matmul(weight.detach().t());
  EXPECT_TRUE(close(result(at("m.mlpackage"), "logits", {{"x", x}}), logits));
  EXPECT_TRUE(close(result(at("m.mlpackage"), "forward", {{"x", x}}), logits.relu()));
}

TEST_F(ScriptModule, SharesWithAFileOfTheSameWeights) {
  torch::jit::Module module = scripted(at::randn({64, 32}));
  module.eval();
  module.save(at("model.pt"));
  Compiler compiler;
  compiler.addFile("file", at("model.pt"), {.input = {"x=[1, 32]"}});
  add(compiler, "memory", module, {.input = {"x=[1, 32]"}});
  Report report = compiler.write(at("m.mlpackage"));
  for (const Report::Function &function : report.functions)
    EXPECT_EQ(function.ownBytes, 0u) << function.name;
}

TEST_F(ScriptModule, SeveralExportsAtOnce) {
  std::vector<std::thread> threads;
  std::vector<std::string> failures(4);
  at::Tensor weight = at::randn({64, 32});
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      try {
        torch::jit::Module module = scripted(weight);
        for (int round = 0; round < 3; ++round) {
          Compiler compiler;
          add(compiler, "a", module, {.input = {"x=[1, 32]"}});
          addCallable(compiler, "b",
                      [&](const std::vector<at::Tensor> &in) -> c10::IValue {
                        return at::linear(in[0], weight);
                      },
                      nullptr, {at::ones({1, 32})}, {.input = {"x=[1, 32]"}});
          compiler.write(at("m" + std::to_string(i) + ".mlpackage"));
        }
      } catch (const std::exception &error) {
        failures[i] = error.what();
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  auto bytes = [&](int i) {
    auto buffer = llvm::MemoryBuffer::getFile(at("m" + std::to_string(i) + ".mlpackage") +
                                              "/Data/com.apple.CoreML/weights/weight.bin");
    return buffer ? (*buffer)->getBuffer().str() : "";
  };
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(failures[i], "");
    EXPECT_FALSE(bytes(i).empty());
    EXPECT_TRUE(bytes(i) == bytes(0)) << "export " << i << " differs";
  }
}

TEST_F(ScriptModule, AFailedExportLeavesNothing) {
  torch::jit::Module module = scripted(at::randn({4, 4}));
  Compiler compiler;
  add(compiler, "good", module, {.input = {"x=[4, 4]"}});
  add(compiler, "bad", module, {.input = {"x=[4, 4]"}, .method = "broken"});
  std::string text = message([&] { compiler.write(at("m.mlpackage")); });
  EXPECT_THAT(text, HasSubstr("function 'bad': 1 operation is not supported:\n  aten::linalg_svd"));
  EXPECT_EQ(entries(), 0u);
  EXPECT_THAT(message([&] { compiler.write(at("m.zip")); }), HasSubstr("ends in .mlpackage"));
  EXPECT_THAT(message([&] { add(compiler, "good", module); }), HasSubstr("two functions"));
  EXPECT_THAT(message([&] { add(compiler, "x", module, {.input = {"x=[1, 0]"}}); }),
              HasSubstr("x=[1, 0]"));
}

TEST_F(ScriptModule, ProgressAndCancelling) {
  torch::jit::Module module = scripted(at::randn({1024, 1024}));
  Compiler compiler;
  add(compiler, "f", module, {.input = {"x=[1, 1024]"}});
  std::vector<double> done;
  std::vector<std::string> steps;
  compiler.onProgress([&](const Progress &progress) {
    done.push_back(progress.done);
    if (steps.empty() || steps.back() != progress.what)
      steps.push_back(progress.what);
  });
  compiler.write(at("m.mlpackage"));
  EXPECT_TRUE(llvm::is_sorted(done));
  EXPECT_EQ(done.back(), 1.0);
  EXPECT_THAT(steps[0], HasSubstr("lowering f (1 of 1)"));

  compiler.onProgress([&](const Progress &progress) {
    if (progress.done > 0.5)
      compiler.cancel();
  });
  try {
    compiler.write(at("other.mlpackage"));
    FAIL() << "not cancelled";
  } catch (const Exception &error) {
    EXPECT_EQ(error.reason(), Exception::Reason::Cancelled);
  }
  EXPECT_EQ(entries(), 1u);
  compiler.onProgress([](const Progress &) { throw std::logic_error("the caller's own"); });
  EXPECT_THROW(compiler.write(at("other.mlpackage")), std::logic_error);
  EXPECT_EQ(entries(), 1u);
  compiler.onProgress(nullptr);
  compiler.write(at("other.mlpackage"));
  EXPECT_EQ(entries(), 2u);
}

torch::jit::Module optioned() {
  torch::jit::Module module("Optioned");
  module.define(R"(
    def forward(self, x, bias, scale: float, mask: Optional[Tensor], n: int = 1):
        y = x * scale + n
        if mask is not None:
            y = y * mask
        return y + bias
  )");
  return module;
}

TEST_F(ScriptModule, ConstantsDefaultsAndNamedSizes) {
  torch::jit::Module module = optioned();
  module.save(at("model.pt"));
  Compiler compiler({.precision = Precision::fp32, .multifunction = false});
  FunctionOptions options{
      .input = {"x=[1, n:1..8]", "bias=[1] default=0.5", "scale=2.0", "mask=none", "n=3"},
      .output = {"y"}};
  add(compiler, "main", module, options);
  compiler.write(at("m.mlpackage"));
  Program program(at("m.mlpackage"));
  EXPECT_TRUE(verify(program, "", at("model.pt")).passed);
  ASSERT_EQ(program.functions()[0].inputs.size(), 2u);
  EXPECT_EQ(program.functions()[0].inputs[1].defaultValue, 0.5);
  at::Tensor x = at::randn({1, 4});
  Session session = program.session();
  EXPECT_TRUE(close(run(session, {{"x", x}}).at("y"), x * 2 + 3 + 0.5));
  EXPECT_TRUE(close(run(session, {{"x", x}, {"bias", at::ones({1})}}).at("y"), x * 2 + 3 + 1));

  options.input = {"x=[1, n:1..8]", "bias=[1, n]", "scale=2.0", "mask=none"};
  Compiler named = inFp32();
  add(named, "main", module, options);
  named.write(at("n.mlpackage"));
  Session common = Program(at("n.mlpackage")).session();
  EXPECT_TRUE(close(run(common, {{"x", x}, {"bias", x}}).at("y"), x * 3 + 1));
  EXPECT_THAT(message([&] { run(common, {{"x", x}, {"bias", at::ones({1, 1})}}); }),
              HasSubstr("input 'x' has n = 4"));

  options.input = {"x=[4]", "bias=[4]", "scale=none", "mask=none"};
  EXPECT_THAT(message([&] { add(named, "other", module, options); }),
              HasSubstr("argument 'scale' has type float and cannot be none"));
  options.input = {"x=[n]", "bias=[n]"};
  EXPECT_THAT(message([&] { add(named, "other", module, options); }),
              HasSubstr("nothing says what the size 'n' may be"));
  auto live = [](const at::Tensor &t) { return t * 2; };
  for (auto [constant, said] : {std::pair("scale=2.0", "'scale' is declared 2.0"),
                                std::pair("mask=none", "'mask' is declared none")})
    EXPECT_THAT(message([&] { add(named, "live", live, {x}, {.input = {"x", constant}}); }),
                testing::AllOf(HasSubstr(said),
                               HasSubstr("the arguments of a live model have no names"),
                               HasSubstr("a lambda")));
}

TEST_F(ScriptModule, SessionsOfClassifiers) {
  torch::jit::Module module("Scores");
  module.define("def forward(self, x):\n    return x.softmax(1)\n");
  for (bool numbers : {false, true}) {
    std::ofstream labels(at("labels.txt"));
    labels << (numbers ? "7\n-3\n0\n" : "cat\ndog\nbird\n");
    labels.close();
    Compiler compiler({.precision = Precision::fp32, .multifunction = false});
    add(compiler, "main", module, {.input = {"x=[1, 3]"}, .classes = "kind=" + at("labels.txt")});
    compiler.write(at("c.mlpackage"));
    Session session = Program(at("c.mlpackage")).session();
    EXPECT_FALSE(session.classification());
    at::Tensor x = at::tensor({0.0f, 2.0f, -1.0f}).reshape({1, 3});
    EXPECT_TRUE(run(session, {{"x", x}}).empty());
    std::optional<Classification> found = session.classification();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->output, "kind");
    EXPECT_EQ(found->label, numbers ? "-3" : "dog");
    ASSERT_EQ(found->probabilities.size(), 3u);
    EXPECT_EQ(found->probabilities[0].first, numbers ? "7" : "cat");
    EXPECT_NEAR(found->probabilities[1].second, x.softmax(1)[0][1].item().toDouble(), 1e-6);
  }
}

} // namespace
