// What add() takes: every form of model and function, of results, and of declared inputs.
#include "ApiTestUtils.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/nn/modules.h>
#include <torch/nn/modules/container/any.h>
#include <torch/ordered_dict.h>

#include <array>
#include <unordered_map>

using namespace plait;
using plait::test::close;
using testing::ElementsAre;
using testing::HasSubstr;
namespace nn = torch::nn;

namespace {

class AddForms : public plait::test::ApiTest {
protected:
  std::vector<std::string> names(const std::vector<ValueInfo> &values) {
    std::vector<std::string> result;
    for (const ValueInfo &value : values)
      result.push_back(value.name);
    return result;
  }
  /// Writes what is there, runs `function` on the examples and compares the first result.
  void expectFirst(const std::string &function, const std::vector<at::Tensor> &examples,
                   const at::Tensor &expected) {
    SCOPED_TRACE(function);
    compiler.write(at("m.mlpackage"));
    Session session = Program(at("m.mlpackage")).session(function);
    std::map<std::string, at::Tensor> inputs;
    for (size_t i = 0; i < examples.size(); ++i)
      inputs[session.function().inputs[i].name] = examples[i];
    EXPECT_TRUE(close(run(session, inputs).at(session.function().outputs[0].name), expected));
  }
  FunctionInfo written(const std::string &function) {
    compiler.write(at("m.mlpackage"));
    return Program(at("m.mlpackage")).session(function).function();
  }
  Compiler compiler = inFp32();
  at::Tensor x = at::rand({2, 4}), y = at::rand({2, 4});
};

struct PairImpl : nn::Module {
  PairImpl() { layer = register_module("layer", nn::Linear(4, 4)); }
  std::tuple<at::Tensor, at::Tensor> forward(at::Tensor x) { return {layer(x), x * 2}; }
  nn::Linear layer{nullptr};
};
TORCH_MODULE(Pair);

struct Summing : nn::Module {
  template <typename... T> at::Tensor forward(T... all) { return (all + ...); }
};
struct Stacking : nn::Module {
  at::Tensor forward(at::TensorList all) { return at::stack(all).sum(0); }
};

TEST_F(AddForms, ModelsInEveryHold) {
  torch::NoGradGuard noGrad;
  nn::Linear holder(4, 3);
  const nn::Linear constant = holder;
  std::shared_ptr<nn::LinearImpl> shared = holder.ptr();
  auto unique = std::make_unique<nn::ReLUImpl>();
  add(compiler, "holder", holder, {x});
  add(compiler, "constant", constant, {x});
  add(compiler, "shared", shared, {x});
  add(compiler, "pointer", shared.get(), {x});
  add(compiler, "reference", *shared, {x});
  add(compiler, "unique", unique, {x});
  add(compiler, "temporary", nn::ReLU(), {x});
  nn::AnyModule any(holder);
  const nn::AnyModule constantAny(Pair{});
  add(compiler, "whatever", any, {x});
  add(compiler, "pair", constantAny, {x});
  add(compiler, "sequence", nn::Sequential(holder, nn::ReLU()), {x});
  expectFirst("whatever", {x}, holder(x));
  EXPECT_EQ(Program(at("m.mlpackage")).session("pair").function().outputs.size(), 2u);
  Report report = compiler.write(at("m.mlpackage"));
  EXPECT_EQ(report.functions[1].ownBytes, 0u) << "the weights are one";
}

TEST_F(AddForms, FunctionsOfAnyNumberOfTensors) {
  nn::Linear layer(4, 3);
  add(compiler, "one", [](at::Tensor a) { return a * 2; }, {x});
  add(compiler, "two", [](const at::Tensor &a, const at::Tensor &b) { return a * b; }, {x, y});
  add(compiler, "generic", [](auto... all) { return (all + ...); }, {x, y, x});
  add(compiler, "of_one", [](auto x) { return x * 2; }, {x});
  add(compiler, "by_reference", [](const auto &x) { return x.relu(); }, {x});
  add(compiler, "with_default", [](auto x, double scale = 3) { return x * scale; }, {x});
  add(compiler, "vector", [](const std::vector<at::Tensor> &all) { return all[0] - all[1]; },
      {x, y});
  add(compiler, "several", [](at::TensorList all) { return at::stack(all).sum(0); }, {x, y});
  std::function<at::Tensor(at::Tensor)> function = [](at::Tensor a) { return a.relu(); };
  add(compiler, "function", function, {x});
  add(compiler, "pointer", static_cast<at::Tensor (*)(const at::Tensor &)>(&at::tanh), {x});
  auto many = [](at::Tensor a, at::Tensor b, at::Tensor c, at::Tensor d, at::Tensor e, at::Tensor f,
                 at::Tensor g, at::Tensor h, at::Tensor i, at::Tensor j, at::Tensor k, at::Tensor l,
                 at::Tensor m, at::Tensor n, at::Tensor o, at::Tensor p, at::Tensor q,
                 at::Tensor r) {
    return a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + q + r;
  };
  add(compiler, "many", many, std::vector<at::Tensor>(18, x));
  // As many as there are examples, or none of them.
  EXPECT_THAT(message([&] {
                add(
                    compiler, "seventeen", [](auto... all) { return (all + ...); },
                    std::vector<at::Tensor>(17, x));
              }),
              HasSubstr("does not take 17 tensors"));
  add(compiler, "template", Summing(), {x, y});
  add(compiler, "of_list", Stacking(), {x, y});
  // With the model that holds the parameters, in any form.
  auto head = [&](at::Tensor a) { return layer(a).softmax(-1); };
  add(compiler, "head", head, layer, {x});
  add(compiler, "heads", head, layer.ptr().get(), {x}, {.output = {"scores"}});
  EXPECT_THAT(message([&] { add(compiler, "none", head, {x}); }),
              HasSubstr("a parameter that is registered in no module"));
  torch::NoGradGuard noGrad;
  expectFirst("head", {x}, head(x));
  expectFirst("generic", {x, y, x}, x + y + x);
  expectFirst("several", {x, y}, x + y);
  expectFirst("of_one", {x}, x * 2);
  expectFirst("with_default", {x}, x * 3);
  expectFirst("template", {x, y}, x + y);
  expectFirst("of_list", {x, y}, x + y);
  expectFirst("many", std::vector<at::Tensor>(18, x), x * 18);
}

/// Arguments that an app never changes.
struct AttendingImpl : nn::Module {
  AttendingImpl() { layer = register_module("layer", nn::Linear(4, 4)); }
  at::Tensor forward(at::Tensor x, std::optional<at::Tensor> mask, double scale) {
    at::Tensor scores = layer(x) * scale;
    return mask ? scores + *mask : scores.relu();
  }
  nn::Linear layer{nullptr};
};
TORCH_MODULE(Attending);

TEST_F(AddForms, ArgumentsThatAreTheSameInEveryCall) {
  torch::NoGradGuard noGrad;
  Attending model;
  add(compiler, "plain", [&](at::Tensor a) { return model->forward(a, std::nullopt, 2.0); }, model,
      {x});
  add(compiler, "masked",
      [&](at::Tensor a, at::Tensor mask) { return model->forward(a, mask, 0.5); }, model, {x, y});
  expectFirst("plain", {x}, model->forward(x, std::nullopt, 2.0));
  expectFirst("masked", {x, y}, model->forward(x, y, 0.5));
  EXPECT_EQ(compiler.write(at("m.mlpackage")).functions[1].ownBytes, 0u) << "the weights are one";
}

struct Detections {
  at::Tensor boxes, scores;
};
std::map<std::string, at::Tensor> toOutputs(const Detections &found) {
  return {{"boxes", found.boxes}, {"scores", found.scores}};
}
struct AsMap {
  at::Tensor value;
  operator std::map<std::string, at::Tensor>() const { return {{"mapped", value}}; }
};
struct AsTensor {
  at::Tensor value;
  operator at::Tensor() const { return value; }
};
struct AsValue {
  at::Tensor value;
  operator c10::IValue() const { return std::make_tuple(value, value + 1); }
};

TEST_F(AddForms, ResultsOfEveryForm) {
  auto outputs = [&](auto make) {
    Compiler one = inFp32();
    add(one, "f", [&](at::Tensor a) { return make(a); }, {x}, {.input = {"x"}});
    one.write(at("m.mlpackage"));
    return names(Program(at("m.mlpackage")).session().function().outputs);
  };
  using T = at::Tensor;
  EXPECT_THAT(outputs([](T a) { return a * 2; }), ElementsAre("output"));
  EXPECT_THAT(outputs([](T a) { return std::tuple(a + 1, a * 2); }),
              ElementsAre("output_0", "output_1"));
  EXPECT_THAT(outputs([](T a) { return std::pair(a + 1, std::array{a * 2, a - 1}); }),
              ElementsAre("output_0", "output_1", "output_2"));
  EXPECT_THAT(outputs([](T a) { return std::vector{a + 1, a * 2}; }),
              ElementsAre("output_0", "output_1"));
  EXPECT_THAT(outputs([](T a) { return std::tuple(a + 1, std::optional<T>(), T()); }),
              ElementsAre("output"));
  EXPECT_THAT(outputs([](T a) { return std::map<std::string, T>{{"b", a + 1}, {"a", a * 2}}; }),
              ElementsAre("a", "b"));
  EXPECT_THAT(
      outputs([](T a) { return std::unordered_map<std::string, T>{{"b", a + 1}, {"a", a * 2}}; }),
      ElementsAre("a", "b"));
  EXPECT_THAT(outputs([](T a) {
                torch::OrderedDict<std::string, T> dict;
                dict.insert("second", a + 1);
                dict.insert("first", a * 2);
                return dict;
              }),
              ElementsAre("second", "first"));
  EXPECT_THAT(outputs([](T a) { return Detections{a + 1, a * 2}; }),
              ElementsAre("boxes", "scores"));
  EXPECT_THAT(outputs([](T a) { return AsMap{a + 1}; }), ElementsAre("mapped"));
  EXPECT_THAT(outputs([](T a) { return AsTensor{a + 1}; }), ElementsAre("output"));
  EXPECT_THAT(outputs([](T a) { return AsValue{a * 3}; }), ElementsAre("output_0", "output_1"));
  // Keys survive what is inside and around.
  EXPECT_THAT(outputs([](T a) {
                std::map<std::string, std::tuple<T, T>> inner{{"boxes", {a + 1, a * 2}}};
                return std::tuple(inner, Detections{a - 1, a * 4});
              }),
              ElementsAre("boxes_0", "boxes_1", "boxes", "scores"));
}

TEST_F(AddForms, KeysOfTorchScriptSurviveTuples) {
  torch::jit::Module module("M");
  module.define(R"(
    def forward(self, x):
        return {"boxes": (x + 1, x * 2), "scores": (x - 1, x * 3)}
  )");
  add(compiler, "f", module, {x});
  EXPECT_THAT(names(written("f").outputs),
              ElementsAre("boxes_0", "boxes_1", "scores_0", "scores_1"));
}

TEST_F(AddForms, AScriptWithExamples) {
  torch::jit::Module module("M");
  module.register_parameter("weight", at::rand({4}), false);
  module.define(R"(
    def forward(self, x, mask):
        return torch.where(mask, x * self.weight, x)
  )");
  at::Tensor mask = y > 0.5;
  add(compiler, "f", module, {x, mask});
  add(compiler, "named", module, {x, mask}, {.input = {"a", "b=bool"}});
  add(compiler, "shared", std::make_shared<torch::jit::Module>(module), {x, mask});
  FunctionInfo named = written("named");
  EXPECT_THAT(names(named.inputs), ElementsAre("a", "b"));
  EXPECT_EQ(named.inputs[0].shape[1].upper, 4);
  expectFirst("f", {x, mask}, at::where(mask, x * module.attr("weight").toTensor(), x));
}

TEST_F(AddForms, DeclarationsThatLeaveOut) {
  std::vector<std::string> heard;
  compiler.onLog([&](Severity severity, std::string_view text) {
    if (severity == Severity::warning)
      heard.emplace_back(text);
  });
  auto call = [](at::Tensor tokens, at::Tensor mask) { return tokens * 2 + mask; };
  at::Tensor tokens = at::randint(9, {2, 4}, at::kLong), mask = at::ones({2, 4}, at::kBool);
  add(compiler, "names", call, {tokens, mask}, {.input = {"tokens", "mask"}});
  add(compiler, "types", call, {tokens, mask}, {.input = {"tokens=int64", "mask=bool"}});
  add(compiler, "ranges", call, {tokens, mask},
      {.input = {"tokens=int64[2, 1..8]", "mask=bool[2, 1..8]"}});
  FunctionInfo info = written("names");
  EXPECT_THAT(names(info.inputs), ElementsAre("tokens", "mask"));
  EXPECT_EQ(info.inputs[0].elementType(), ElementType::int32);
  EXPECT_EQ(info.inputs[0].shape[0].lower, 2);
  EXPECT_EQ(Program(at("m.mlpackage")).session("ranges").function().inputs[0].shape[1].upper, 8);
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_THAT(heard[0], HasSubstr("Core ML has no int64"));
  expectFirst("types", {tokens, mask}, tokens * 2 + mask);
}

} // namespace
