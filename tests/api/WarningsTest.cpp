// What may not be what is wanted: results that no input reaches, weights that are no numbers, and
// weights that change under the export. And ending one.
#include "ApiTestUtils.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/nn/modules.h>

#include <chrono>
#include <thread>

using namespace plait;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
namespace nn = torch::nn;

namespace {

class Warnings : public plait::test::ApiTest {
protected:
  std::vector<std::string> written() { return compiler.write(at("m.mlpackage")).warnings; }
  Compiler compiler;
  at::Tensor x = at::rand({2, 4});
};

TEST_F(Warnings, AResultThatNoInputReaches) {
  nn::Linear layer(4, 4);
  add(compiler, "f",
      [&](at::Tensor x) { return std::tuple(layer(x), layer->weight.sum(0), at::ones({3}) * 2); },
      layer, {x}, {.output = {"y", "sums", "twos"}});
  EXPECT_THAT(written(), ElementsAre(HasSubstr("result 'sums' depends on no input"),
                                     HasSubstr("result 'twos' depends on no input")));
}

TEST_F(Warnings, WeightsThatAreZeroInHalf) {
  nn::Linear tiny(64, 64), nearly(64, 64), zero(64, 64);
  {
    torch::NoGradGuard noGrad;
    tiny->weight.mul_(1e-9);
    nearly->weight.mul_(1e-9)[63][63] = 1e-6f;
    zero->weight.zero_();
  }
  for (Precision precision : {Precision::fp16, Precision::fp32}) {
    Compiler one;
    one.options().precision = precision;
    add(one, "tiny", tiny, {at::rand({1, 64})});
    add(one, "nearly", nearly, {at::rand({1, 64})});
    add(one, "zero", zero, {at::rand({1, 64})});
    std::vector<std::string> warnings = one.write(at("m.mlpackage")).warnings;
    if (precision == Precision::fp32)
      EXPECT_THAT(warnings, testing::IsEmpty());
    else
      EXPECT_THAT(warnings,
                  ElementsAre(AllOf(HasSubstr("function tiny: weight '"), HasSubstr("(weight)"),
                                    HasSubstr("all 4096 values are 0 in fp16"))));
  }
}

TEST_F(Warnings, WeightsThatAreNoNumbers) {
  nn::Linear broken(64, 64), fine(64, 64);
  {
    torch::NoGradGuard noGrad;
    broken->weight[0][0] = std::nanf("");
    broken->weight[3][5] = INFINITY;
    broken->weight[3][6] = -INFINITY;
  }
  for (Precision precision : {Precision::fp16, Precision::fp32}) {
    Compiler one;
    one.options().precision = precision;
    add(one, "broken", broken, {at::rand({1, 64})});
    add(one, "fine", fine, {at::rand({1, 64})});
    auto weight = AllOf(HasSubstr("function broken: weight '"), HasSubstr("(weight)"),
                        HasSubstr("of 4096 values 1 are NaN and 2 infinite"));
    std::vector<std::string> warnings = one.write(at("m.mlpackage")).warnings;
    if (precision == Precision::fp32) {
      EXPECT_THAT(warnings, ElementsAre(weight));
    } else { // a rule of devices too
      EXPECT_THAT(warnings, ElementsAre(AllOf(HasSubstr("broken: operation 'weight_0_to_fp16'"),
                                              HasSubstr("[finite-fp16]")),
                                        weight));
    }
  }
}

TEST_F(Warnings, WeightsOfAFewElementsThatAreNoNumbers) {
  nn::Linear layer(4, 4);
  torch::jit::Module script("Scaled");
  script.register_parameter("scale", at::tensor({1.f, NAN, 2.f, NAN}), /*is_buffer=*/false);
  script.define("def forward(self, x):\n    return x * self.scale\n");
  torch::NoGradGuard noGrad;
  layer->bias[2] = INFINITY;
  compiler = inFp32();
  add(compiler, "live", layer, {x});
  add(compiler, "script", script, {x});
  EXPECT_THAT(written(),
              ElementsAre(AllOf(HasSubstr("function live: weight '"), HasSubstr("(bias)"),
                                HasSubstr("of 4 values 0 are NaN and 1 infinite")),
                          AllOf(HasSubstr("function script: weight '"), HasSubstr("(scale)"),
                                HasSubstr("of 4 values 2 are NaN and 0 infinite"))));
}

TEST_F(Warnings, MasksMayBeInfinite) {
  struct MaskedImpl : nn::Module {
    MaskedImpl() { mask = register_buffer("mask", at::full({16, 16}, -INFINITY).triu(1)); }
    at::Tensor forward(at::Tensor x) { return (x + mask).softmax(-1); }
    at::Tensor mask;
  };
  compiler = inFp32();
  add(compiler, "f", std::make_shared<MaskedImpl>(), {at::rand({16, 16})});
  EXPECT_THAT(written(), ElementsAre());
}

TEST_F(Warnings, WeightsThatWereWrittenTo) {
  nn::Linear layer(4, 4);
  auto train = [&] {
    torch::NoGradGuard noGrad;
    layer->weight.add_(1);
  };
  add(compiler, "f", layer, {x});
  EXPECT_THAT(written(), ElementsAre());
  train();
  EXPECT_THAT(written(), ElementsAre(AllOf(HasSubstr("f: weight 'weight' was written to since"),
                                           HasSubstr("what they hold now"))));
  EXPECT_THAT(written(), ElementsAre()) << "said once";
  layer->bias.set_data(at::ones({4})); // other memory
  Report report = compiler.write(at("m.mlpackage"));
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("weight 'bias'")));
  EXPECT_THAT(report.warningCodes, ElementsAre("P1106"));
  // What no module has.
  at::Tensor scale = at::ones({4});
  compiler.removeFunction("f");
  add(compiler, "f", [&](at::Tensor x) { return layer(x) * scale; }, layer, {x});
  EXPECT_THAT(written(), ElementsAre());
  scale.add_(1);
  EXPECT_THAT(written(), ElementsAre(HasSubstr("weight '[4], registered in no module' was")));
  compiler.onProgress([&](const Progress &progress) {
    if (progress.what.starts_with("writing") && progress.done < 0.5)
      train();
  });
  EXPECT_THAT(written(), ElementsAre(HasSubstr("while it was exported")));
}

TEST_F(Warnings, MessagesSayWhatAProgramCanDo) {
  struct CounterImpl : nn::Module {
    CounterImpl() { steps = register_buffer("steps", at::zeros({1})); }
    at::Tensor forward(at::Tensor x) {
      steps.add_(1);
      return x * steps;
    }
    at::Tensor steps;
  };
  add(compiler, "g", std::make_shared<CounterImpl>(), {x});
  EXPECT_THAT(message([&] { written(); }),
              AllOf(HasSubstr("FunctionOptions::states = {\""), testing::Not(HasSubstr("--"))));
}

/// Milliseconds from cancelling at a moment of the export until it has ended.
static double timeToEnd(Compiler &compiler, const std::string &path, double at) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point asked;
  compiler.onProgress([&](const Progress &progress) {
    if (progress.done >= at && asked == Clock::time_point()) {
      asked = Clock::now();
      compiler.cancel();
    }
  });
  try {
    compiler.write(path);
    ADD_FAILURE() << "not cancelled";
  } catch (const Exception &error) {
    EXPECT_EQ(error.reason(), Exception::Reason::Cancelled);
  }
  return std::chrono::duration<double, std::milli>(Clock::now() - asked).count();
}

TEST_F(Warnings, CancellingTakesEffectSoon) {
  nn::Sequential model;
  for (int i = 0; i < 40; ++i)
    model->push_back(nn::Linear(1024, 1024));
  add(compiler, "f", model, {at::rand({1, 1024})});
  for (double at : {0.0, 0.3, 0.6})
    EXPECT_LT(timeToEnd(compiler, this->at("m.mlpackage"), at), 2000)
        << at; // 50 where nothing else runs
  EXPECT_EQ(entries(), 0u);
}

#ifdef __cpp_lib_jthread
TEST_F(Warnings, AStopTokenEndsOneCall) {
  add(compiler, "f", nn::Linear(4, 4), {x});
  std::stop_source stop;
  stop.request_stop();
  try {
    compiler.write(at("m.mlpackage"), stop.get_token());
    FAIL() << "not stopped";
  } catch (const Exception &error) {
    EXPECT_EQ(error.reason(), Exception::Reason::Cancelled);
  }
  EXPECT_EQ(entries(), 0u);
  compiler.write(at("m.mlpackage"));
  compiler.write(at("m.mlpackage"), std::stop_source().get_token());
  add(compiler, "g", nn::Linear(4, 4), {x});
  EXPECT_THROW(compiler.addTo(at("m.mlpackage"), stop.get_token()), Exception);
}
#endif

} // namespace
