// Live torch::nn::Modules and callables: what is exported, and that the process does not notice.
#include "ApiTestUtils.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/modules.h>

#include <atomic>
#include <fstream>

using namespace plait;
using plait::test::close;
using testing::ElementsAre;
using testing::HasSubstr;
namespace nn = torch::nn;

namespace {

using LiveModule = plait::test::ApiTest;

struct TwoHeadsImpl : nn::Module {
  TwoHeadsImpl() {
    trunk = register_module("trunk", nn::Sequential(nn::Linear(6, 8), nn::BatchNorm1d(8),
                                                    nn::ReLU(), nn::Dropout(0.5)));
    left = register_module("left", nn::Linear(8, 3));
    right = register_module("right", nn::Linear(nn::LinearOptions(8, 2).bias(false)));
    offset = register_buffer("offset", torch::rand({6}));
  }
  std::tuple<torch::Tensor, torch::Tensor> forward(torch::Tensor x, torch::Tensor scale) {
    torch::Tensor y = trunk->forward((x + offset) * scale);
    return {left(y), right(y).softmax(-1)};
  }
  nn::Sequential trunk{nullptr};
  nn::Linear left{nullptr}, right{nullptr};
  torch::Tensor offset;
};
TORCH_MODULE(TwoHeads);

TEST_F(LiveModule, SequentialIsLinearOnTheUntransposedWeight) {
  nn::Sequential model(nn::Linear(12, 16), nn::ReLU(), nn::Linear(16, 4));
  at::Tensor x = at::rand({2, 12});
  Compiler compiler = inFp32();
  add(compiler, "main", model, {x}, {.input = {"x=[2, 12]"}, .output = {"y"}});
  // A second function on the first layer alone shares its weight.
  nn::Linear first = std::dynamic_pointer_cast<nn::LinearImpl>(model->ptr(0));
  add(compiler, "first", first, {x}, {.input = {"x=[2, 12]"}, .output = {"y"}});
  Report report = compiler.write(at("m.mlpackage"));
  EXPECT_EQ(count(at("m.mlpackage"), "main", mil::OpKind::linear), 2u);
  EXPECT_EQ(count(at("m.mlpackage"), "main", mil::OpKind::transpose), 0u);
  EXPECT_EQ(count(at("m.mlpackage"), "main", mil::OpKind::matmul), 0u);
  EXPECT_EQ(report.functions[1].ownBytes, 0u);
  EXPECT_EQ(report.functions[1].sharedBytes, (12 * 16 + 16) * 4u);
  EXPECT_TRUE(report.warnings.empty()) << report.warnings[0];
  torch::NoGradGuard noGrad;
  EXPECT_TRUE(close(result(at("m.mlpackage"), "main", {{"x", x}}), model->forward(x)));
  EXPECT_TRUE(close(result(at("m.mlpackage"), "first", {{"x", x}}), first(x)));
}

TEST_F(LiveModule, SeveralInputsAndOutputsFromBuffersAndContainers) {
  TwoHeads model;
  model->eval();
  at::Tensor x = at::rand({5, 6}), scale = at::rand({5, 1});
  Compiler compiler = inFp32();
  add(compiler, "heads", model, {x, scale},
      {.input = {"x=[5, 6]", "scale=[5, 1]"}, .output = {"left", "right"}});
  compiler.write(at("m.mlpackage"));
  Program program(at("m.mlpackage"));
  ASSERT_EQ(program.functions().size(), 1u);
  EXPECT_EQ(program.functions()[0].inputs[1].name, "scale");
  EXPECT_EQ(program.functions()[0].outputs[1].name, "right");
  Session session = program.session();
  auto results = run(session, {{"x", x}, {"scale", scale}});
  torch::NoGradGuard noGrad;
  auto [left, right] = model(x, scale);
  EXPECT_TRUE(close(results.at("left"), left));
  EXPECT_TRUE(close(results.at("right"), right));
}

TEST_F(LiveModule, TheProcessStaysAsItWas) {
  TwoHeads model;
  model->train();
  model->left->eval(); // a mode of its own within
  auto [left, right] = model(at::rand({4, 6}), at::ones({1}));
  (left.sum() + right.square().sum()).backward();
  at::Tensor x = at::rand({4, 6}), scale = at::ones({4, 1});
  std::vector<at::Tensor> contents, grads;
  std::vector<int64_t> versions;
  for (const at::Tensor &tensor : model->parameters()) {
    contents.push_back(tensor.detach().clone());
    grads.push_back(tensor.grad().clone());
    versions.push_back(tensor._version());
  }
  at::Tensor mean = model->trunk->named_buffers()["1.running_mean"], oldMean = mean.clone();
  at::Tensor oldX = x.clone();
  torch::manual_seed(3);
  at::Tensor expected = at::rand({4});
  torch::manual_seed(3);

  Compiler compiler;
  add(compiler, "heads", model, {x, scale});
  compiler.write(at("m.mlpackage"));

  EXPECT_TRUE(at::equal(at::rand({4}), expected)) << "random numbers were drawn";
  EXPECT_TRUE(model->is_training());
  EXPECT_TRUE(model->trunk->is_training());
  EXPECT_TRUE(model->trunk->ptr(3)->is_training());
  EXPECT_FALSE(model->left->is_training());
  EXPECT_TRUE(at::GradMode::is_enabled());
  EXPECT_TRUE(at::equal(mean, oldMean));
  EXPECT_TRUE(at::equal(x, oldX));
  for (auto [i, tensor] : llvm::enumerate(model->parameters())) {
    EXPECT_TRUE(at::equal(tensor, contents[i]));
    EXPECT_TRUE(at::equal(tensor.grad(), grads[i]));
    EXPECT_EQ(tensor._version(), versions[i]);
    EXPECT_TRUE(tensor.requires_grad());
  }
  // It was exported as in evaluation mode all the same.
  EXPECT_EQ(count(at("m.mlpackage"), "heads", mil::OpKind::reduce_mean), 0u);
}

TEST_F(LiveModule, TheProcessStaysAsItWasWhenTracingThrows) {
  TwoHeads model;
  model->train();
  at::Tensor narrow = at::rand({4, 7}), one = at::ones({1});
  torch::manual_seed(3);
  at::Tensor expected = at::rand({4});
  torch::manual_seed(3);
  Compiler compiler;
  std::string text = message([&] { add(compiler, "f", model, {narrow, one}); });
  EXPECT_THAT(text, HasSubstr("function 'f': the model cannot be traced: "));
  text = message([&] { add(compiler, "f", model, {narrow}); });
  EXPECT_THAT(text, HasSubstr("does not take 1 tensor;"));
  EXPECT_THROW(addCallable(compiler, "f",
                           [](const std::vector<at::Tensor> &inputs) -> c10::IValue {
                             at::rand({3});
                             throw std::runtime_error("broken");
                           },
                           model.get(), {one}),
               std::runtime_error);
  EXPECT_TRUE(model->is_training());
  EXPECT_TRUE(model->left->is_training());
  EXPECT_TRUE(at::GradMode::is_enabled());
  EXPECT_TRUE(at::equal(at::rand({4}), expected));
}

TEST_F(LiveModule, BuffersThatForwardWritesKeepTheirContents) {
  struct CounterImpl : nn::Module {
    CounterImpl() { steps = register_buffer("steps", at::zeros({1})); }
    at::Tensor forward(at::Tensor x) {
      steps.add_(1);
      return x * 2;
    }
    at::Tensor steps;
  } counter;
  Compiler compiler;
  add(compiler, "f", counter, {at::ones({2})});
  EXPECT_EQ(counter.steps.item<float>(), 0);
  EXPECT_THAT(message([&] { compiler.write(at("m.mlpackage")); }), HasSubstr("steps"));
}

TEST_F(LiveModule, BuffersAsStates) {
  struct CacheImpl : nn::Module {
    CacheImpl() {
      sum = register_buffer("sum", at::zeros({2}));
      cache = register_buffer("cache", at::zeros({1024, 512})); // 2 MiB
    }
    at::Tensor forward(at::Tensor x) {
      sum.add_(x);
      cache.slice(0, 2, 4).copy_(x.unsqueeze(1).expand({2, 512}));
      return sum + cache.sum();
    }
    at::Tensor sum, cache;
  } module;
  Compiler compiler;
  add(compiler, "f", module, {at::ones({2})}, {.states = {"auto"}});
  EXPECT_EQ(module.cache.sum().item<float>(), 0);
  Report report = compiler.write(at("m.mlpackage"));
  EXPECT_THAT(report.functions[0].states,
              testing::UnorderedElementsAre("sum [2]", "cache [1024, 512]"));
  Session session = Program(at("m.mlpackage")).session();
  torch::NoGradGuard noGrad;
  for (int step = 1; step < 4; ++step) {
    at::Tensor x = at::full({2}, double(step));
    EXPECT_TRUE(close(run(session, {{"input", x}}).begin()->second, module.forward(x), 1e-2));
    EXPECT_TRUE(at::equal(states(session).at("sum").to(at::kFloat), module.sum));
    EXPECT_TRUE(at::equal(states(session).at("cache").to(at::kFloat), module.cache));
  }
  module.sum.fill_(5);
  setStates(session, {{"sum", module.sum}});
  EXPECT_TRUE(close(run(session, {{"input", at::ones({2})}}).begin()->second,
                    module.forward(at::ones({2})), 1e-2));
  auto refused = [&](const char *name, at::Tensor value) {
    return message([&] { setStates(session, {{"sum", at::zeros({2})}, {name, value}}); });
  };
  EXPECT_THAT(refused("total", at::ones({2})), HasSubstr("has no state 'total'"));
  EXPECT_THAT(refused("cache", at::ones({2})), HasSubstr("state 'cache' holds"));
  EXPECT_TRUE(at::equal(states(session).at("sum").to(at::kFloat), module.sum)); // as before
}

TEST_F(LiveModule, RecurrentNetworkAsACallable) {
  nn::LSTM lstm(nn::LSTMOptions(4, 5).batch_first(true));
  at::Tensor x = at::rand({1, 3, 4});
  Compiler compiler = inFp32();
  addCallable(compiler, "f",
              [&](const std::vector<at::Tensor> &inputs) -> c10::IValue {
                return std::get<0>(lstm->forward(inputs[0]));
              },
              lstm.get(), {x}, {.input = {"x=[1, 3, 4]"}});
  compiler.write(at("m.mlpackage"));
  torch::NoGradGuard noGrad;
  EXPECT_TRUE(close(result(at("m.mlpackage"), "f", {{"x", x}}), std::get<0>(lstm(x))));
}

TEST_F(LiveModule, ParametersThatAreRegisteredNowhere) {
  nn::Linear hidden(3, 3);
  Compiler compiler;
  auto call = [&](const std::vector<at::Tensor> &in) -> c10::IValue { return hidden(in[0]); };
  EXPECT_THAT(message([&] { addCallable(compiler, "f", call, nullptr, {at::ones({1, 3})}); }),
              HasSubstr("a parameter that is registered in no module"));
  for (at::Tensor &parameter : hidden->parameters())
    parameter.requires_grad_(false);
  addCallable(compiler, "f", call, nullptr, {at::ones({1, 3})}, {.input = {"x=[1, 3]"}});
  compiler.write(at("m.mlpackage"));
  EXPECT_TRUE(close(result(at("m.mlpackage"), "f", {{"x", at::ones({1, 3})}}),
                    hidden(at::ones({1, 3})), 1e-2));
}

TEST_F(LiveModule, DeclaredRanges) {
  nn::Sequential model(nn::Conv2d(nn::Conv2dOptions(1, 4, 3).padding(1)), nn::Flatten(),
                       nn::Linear(4 * 9, 5));
  Compiler compiler = inFp32();
  add(compiler, "f", model, {at::rand({2, 1, 3, 3})}, {.input = {"x=[1..16, 1, 3, 3]"}});
  compiler.write(at("m.mlpackage"));
  torch::NoGradGuard noGrad;
  for (int64_t batch : {1, 7, 16}) {
    at::Tensor x = at::rand({batch, 1, 3, 3});
    EXPECT_TRUE(close(result(at("m.mlpackage"), "f", {{"x", x}}), model->forward(x)));
  }
}

TEST_F(LiveModule, SizesThatTheTraceFroze) {
  Compiler compiler;
  auto call = [](const std::vector<at::Tensor> &in) -> c10::IValue {
    return in[0].view({in[0].size(0), 2, -1}).sum(2);
  };
  EXPECT_THAT(message([&] {
                addCallable(compiler, "f", call, nullptr, {at::rand({3, 4})},
                            {.input = {"x=[1..8, 4]"}});
              }),
              testing::AllOf(HasSubstr("holds sizes of the examples as plain numbers"),
                             HasSubstr("aten::view is 3 in one and 4 in the other")));
  EXPECT_THAT(message([&] {
                addCallable(compiler, "f", call, nullptr, {at::rand({9, 4})},
                            {.input = {"x=[1..8, 4]"}});
              }),
              HasSubstr("the example of input 'x', of shape [9, 4], lies outside"));
  addCallable(compiler, "f", call, nullptr, {at::rand({3, 4})}); // of one size it is right
}

TEST_F(LiveModule, ControlFlowThatTheTraceFroze) {
  std::vector<std::string> heard;
  Compiler compiler;
  compiler.onLog([&](Severity severity, std::string_view text) {
    if (severity == Severity::warning)
      heard.emplace_back(text);
  });
  auto branch = [](const std::vector<at::Tensor> &in) -> c10::IValue {
    return in[0].sum().item<float>() > 0 ? in[0].relu() : in[0].tanh();
  };
  addCallable(compiler, "branch", branch, nullptr, {at::ones({3})});
  auto number = [](const std::vector<at::Tensor> &in) -> c10::IValue {
    return in[0] * in[0].sum().item<double>();
  };
  addCallable(compiler, "number", number, nullptr, {at::ones({3})});
  addCallable(compiler, "straight",
              [](const std::vector<at::Tensor> &in) -> c10::IValue { return in[0].relu(); },
              nullptr, {at::ones({3})});
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_THAT(heard[0], testing::AllOf(HasSubstr("branch: the trace depends on the values"),
                                       HasSubstr("aten::relu in one and aten::tanh")));
  EXPECT_THAT(heard[1], HasSubstr("a constant of aten::mul is 3. in one"));
  EXPECT_EQ(compiler.write(at("m.mlpackage")).warnings, heard);
}

TEST_F(LiveModule, HalfPrecisionParameters) {
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kDouble}) {
    nn::Linear model(8, 4);
    model->to(dtype);
    at::Tensor x = at::rand({1, 8});
    Compiler compiler = inFp32();
    add(compiler, "f", model, {x.to(dtype)}, {.input = {"x=fp32[1, 8]"}});
    compiler.write(at("m.mlpackage"));
    at::Tensor expected = at::linear(x, model->weight.to(at::kFloat), model->bias.to(at::kFloat));
    EXPECT_TRUE(close(result(at("m.mlpackage"), "f", {{"x", x}}), expected.detach(), 2e-3))
        << at::toString(dtype);
  }
}

TEST_F(LiveModule, WeightsAreNotCopied) {
  auto anonymous = [] {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;)
      if (word == "RssAnon:") {
        size_t kilobytes;
        status >> kilobytes;
        return kilobytes;
      }
    return size_t(0);
  };
  if (!anonymous())
    GTEST_SKIP() << "only Linux tells";
  nn::Sequential model(nn::Linear(4096, 6144), nn::ReLU(), nn::Linear(6144, 4096)); // 192 MiB
  Compiler compiler;
  std::atomic<size_t> most = anonymous();
  size_t before = most;
  compiler.onProgress([&](const Progress &) { most = std::max(most.load(), anonymous()); });
  add(compiler, "f", model, {at::rand({1, 4096})});
  compiler.write(at("m.mlpackage"));
  EXPECT_LT(most - before, 64u << 10);
}

TEST_F(LiveModule, TensorsOutliveTheModule) {
  at::Tensor x = at::rand({1, 8}), expected;
  Compiler compiler = inFp32();
  {
    nn::Linear model(8, 4);
    expected = model(x).detach();
    add(compiler, "f", model, {x}, {.input = {"x=[1, 8]"}});
  }
  compiler.write(at("m.mlpackage"));
  EXPECT_TRUE(close(result(at("m.mlpackage"), "f", {{"x", x}}), expected));
}

} // namespace
