// Live modules of many kinds, each exported in training mode and held against LibTorch in
// evaluation mode.
#include "ApiTestUtils.h"

#include <torch/nn/modules.h>

using namespace plait;
using plait::test::close;
using testing::HasSubstr;
namespace nn = torch::nn;

namespace {

class ModuleKinds : public plait::test::ApiTest {
protected:
  /// Exports `call` in fp32, runs it and compares every result.
  void expectSame(const Callable &call, nn::Module *module, const std::vector<at::Tensor> &examples,
                  FunctionOptions options = {}, double tolerance = 1e-4) {
    module->train();
    Compiler compiler = inFp32();
    for (size_t i = options.input.size(); i < examples.size(); ++i)
      options.input.push_back(declaration("x" + std::to_string(i), examples[i]));
    addCallable(compiler, "f", call, module, examples, options);
    Report report = compiler.write(at("m.mlpackage"));
    for (const std::string &warning : report.warnings) {
      bool expected =
          !expectedWarning.empty() && warning.find(expectedWarning) != std::string::npos;
      EXPECT_TRUE(expected || warning.find("depends on no input") != std::string::npos) << warning;
    }
    EXPECT_TRUE(expectedWarning.empty() || !report.warnings.empty());
    EXPECT_TRUE(module->is_training());
    Session session = Program(at("m.mlpackage")).session();
    std::map<std::string, at::Tensor> inputs;
    for (size_t i = 0; i < examples.size(); ++i)
      inputs[session.function().inputs[i].name] = examples[i];
    auto results = run(session, inputs);
    module->eval();
    torch::NoGradGuard noGrad;
    std::vector<at::Tensor> expected = flat(call(examples));
    ASSERT_EQ(results.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_TRUE(close(results.at(session.function().outputs[i].name), expected[i], tolerance))
          << session.function().outputs[i].name;
  }

  template <typename M>
  void expectSame(nn::ModuleHolder<M> model, const std::vector<at::Tensor> &examples,
                  FunctionOptions options = {}) {
    expectSame(
        [&](const std::vector<at::Tensor> &in) {
          const plait::detail::Forward<M> forward{*model.ptr()};
          return asValue(plait::detail::callWith(forward, in, "forward()"));
        },
        model.ptr().get(), examples, std::move(options));
  }

  static c10::IValue asValue(const Outputs &outputs) {
    if (outputs.tensors.size() == 1)
      return outputs.tensors[0];
    return c10::ivalue::Tuple::create(
        std::vector<c10::IValue>(outputs.tensors.begin(), outputs.tensors.end()));
  }

  static std::string declaration(const std::string &name, const at::Tensor &example) {
    std::string text = name + "=";
    if (!example.is_floating_point())
      text += example.scalar_type() == at::kBool ? "bool" : "int32";
    for (int64_t i = 0; i < example.dim(); ++i)
      text += (i ? ", " : "[") + std::to_string(example.size(i));
    return text + "]";
  }

  std::string expectedWarning; ///< a part of it

  static std::vector<at::Tensor> flat(const c10::IValue &value) {
    if (value.isTensor())
      return value.toTensor().defined() ? std::vector{value.toTensor()} : std::vector<at::Tensor>{};
    std::vector<at::Tensor> result;
    auto take = [&](const c10::IValue &element) {
      for (const at::Tensor &tensor : flat(element))
        result.push_back(tensor);
    };
    if (value.isTuple())
      for (const c10::IValue &element : value.toTupleRef().elements())
        take(element);
    else if (value.isGenericDict())
      for (const auto &entry : value.toGenericDict())
        take(entry.value());
    else
      for (const c10::IValue &element : value.toListRef())
        take(element);
    return result;
  }
};

TEST_F(ModuleKinds, Convolutions) {
  nn::Sequential model(
      nn::Conv2d(nn::Conv2dOptions(3, 8, 3).stride(2).padding(1).bias(false)), nn::BatchNorm2d(8),
      nn::ReLU(), nn::Conv2d(nn::Conv2dOptions(8, 8, 3).groups(8).padding(1)), nn::GroupNorm(2, 8),
      nn::SiLU(), nn::MaxPool2d(2), nn::Dropout2d(0.3),
      nn::ConvTranspose2d(nn::ConvTranspose2dOptions(8, 12, 2).stride(2)), nn::PReLU(),
      nn::PixelShuffle(2), nn::AdaptiveAvgPool2d(1), nn::Flatten(), nn::Linear(3, 4));
  for (nn::Module *module : {model.get()})
    module->train();
  model->forward(torch::randn({4, 3, 16, 16})); // running statistics that are not the initial ones
  expectSame(model, {torch::randn({2, 3, 16, 16})});
}

struct TaggerImpl : nn::Module {
  TaggerImpl() {
    embed = register_module("embed", nn::Embedding(20, 6));
    lstm = register_module(
        "lstm",
        nn::LSTM(nn::LSTMOptions(6, 5).num_layers(2).bidirectional(true).batch_first(true)));
    gru = register_module("gru", nn::GRU(nn::GRUOptions(10, 4).batch_first(true)));
    head = register_module("head", nn::Linear(4, 3));
  }
  std::tuple<at::Tensor, at::Tensor> forward(at::Tensor tokens) {
    auto [states, last] = lstm(embed(tokens));
    auto [refined, hidden] = gru(states);
    return {head(refined), hidden};
  }
  nn::Embedding embed{nullptr};
  nn::LSTM lstm{nullptr};
  nn::GRU gru{nullptr};
  nn::Linear head{nullptr};
};
TORCH_MODULE(Tagger);

TEST_F(ModuleKinds, EmbeddingsAndRecurrentLayers) {
  expectSame(Tagger(), {torch::randint(20, {2, 7}, at::kLong)});
}

TEST_F(ModuleKinds, Attention) {
  nn::MultiheadAttention attention(nn::MultiheadAttentionOptions(8, 2).dropout(0.1));
  at::Tensor q = torch::randn({5, 2, 8}), k = torch::randn({6, 2, 8});
  expectSame(
      [&](const std::vector<at::Tensor> &in) -> c10::IValue {
        return std::get<0>(attention->forward(in[0], in[1], in[1]));
      },
      attention.ptr().get(), {q, k});
  // It asks by their values whether key and value are one.
  expectedWarning = "the trace depends on the values of the inputs";
  expectSame(attention, {q, k, k.flip(0)});
}

TEST_F(ModuleKinds, Transformer) {
  nn::TransformerEncoder encoder(nn::TransformerEncoderOptions(
      nn::TransformerEncoderLayerOptions(8, 2).dim_feedforward(16).activation(torch::kGELU), 2));
  expectSame(encoder, {torch::randn({5, 2, 8})});
  nn::TransformerDecoder decoder(nn::TransformerDecoderOptions(
      nn::TransformerDecoderLayerOptions(8, 2).dim_feedforward(16), 1));
  expectSame(decoder, {torch::randn({4, 2, 8}), torch::randn({5, 2, 8})});
}

/// Containers, a module that is registered twice, a table that is also the head, parameters in a
/// list.
struct ContainersImpl : nn::Module {
  ContainersImpl() {
    blocks = register_module("blocks", nn::ModuleList());
    for (int i = 0; i < 3; ++i)
      blocks->push_back(
          nn::Sequential(nn::LayerNorm(nn::LayerNormOptions({6})), nn::Linear(6, 6), nn::Tanh()));
    up = nn::Linear(6, 9);
    named = register_module(
        "named", nn::ModuleDict(std::vector<std::pair<std::string, std::shared_ptr<nn::Module>>>{
                     {"up", up.ptr()}, {"down", nn::Linear(9, 6).ptr()}}));
    register_module("again", up);
    table = register_module("table", nn::Embedding(10, 6));
    gains = register_module("gains", nn::ParameterList());
    gains->append(torch::rand({6}));
    gains->append(torch::rand({6}));
  }
  at::Tensor forward(at::Tensor tokens) {
    at::Tensor x = table(tokens);
    for (const auto &block : *blocks)
      x = x + block->as<nn::SequentialImpl>()->forward(x);
    for (int i = 0; i < 2; ++i)
      x = named["down"]->as<nn::LinearImpl>()->forward(up(x)) * gains[i];
    return at::linear(x, table->weight);
  }
  nn::ModuleList blocks{nullptr};
  nn::Linear up{nullptr};
  nn::ModuleDict named{nullptr};
  nn::Embedding table{nullptr};
  nn::ParameterList gains{nullptr};
};
TORCH_MODULE(Containers);

TEST_F(ModuleKinds, ContainersAndSharedModules) {
  Containers model;
  expectSame(model, {torch::randint(10, {2, 4}, at::kLong)});
  // The table that is also the head, and the layer that runs twice, are stored once.
  uint64_t bytes = 0;
  for (const at::Tensor &parameter : model->parameters())
    bytes += parameter.nbytes();
  Compiler compiler = inFp32();
  add(compiler, "f", model, {torch::randint(10, {2, 4}, at::kLong)});
  EXPECT_LT(compiler.write(at("m.mlpackage")).weightFileBytes, bytes + 64 * 24);
}

TEST_F(ModuleKinds, ResultsOfEveryForm) {
  nn::Linear linear(4, 3);
  at::Tensor x = torch::randn({2, 4});
  auto with = [&](auto result) {
    return Callable([&, result](const std::vector<at::Tensor> &in) -> c10::IValue {
      return result(linear(in[0]), in[0]);
    });
  };
  auto dictionary = with([](at::Tensor y, at::Tensor) {
    c10::Dict<std::string, at::Tensor> dict;
    dict.insert("scores", y);
    dict.insert("best", std::get<0>(y.max(-1)));
    return dict;
  });
  expectSame(dictionary, linear.ptr().get(), {x});
  Session session = Program(at("m.mlpackage")).session();
  EXPECT_EQ(session.function().outputs[0].name, "scores");
  EXPECT_EQ(session.function().outputs[1].name, "best");
  expectSame(with([](at::Tensor y, at::Tensor in) {
               return std::make_tuple(y, std::make_tuple(y.relu(), std::vector{y.exp(), in * 2}));
             }),
             linear.ptr().get(), {x});
  expectSame(with([](at::Tensor y, at::Tensor) { return std::vector{y, y + 1}; }),
             linear.ptr().get(), {x}, {.output = {"first", "second"}});
  expectSame(
      with([&](at::Tensor y, at::Tensor in) { return std::make_tuple(y, in, linear->bias); }),
      linear.ptr().get(), {x});
}

TEST_F(ModuleKinds, AskedForNoWeightsAttentionGivesNone) {
  nn::MultiheadAttention attention(8, 2);
  at::Tensor x = torch::randn({5, 1, 8});
  expectSame(
      [&](const std::vector<at::Tensor> &in) -> c10::IValue {
        return attention->forward(in[0], in[0], in[0], {}, /*need_weights=*/false);
      },
      attention.ptr().get(), {x});
}

TEST_F(ModuleKinds, SeveralRanges) {
  nn::LayerNorm norm(nn::LayerNormOptions({6}));
  nn::Linear linear(6, 6);
  nn::Sequential holder(norm, linear);
  Compiler compiler = inFp32();
  auto call = [&](const std::vector<at::Tensor> &in) -> c10::IValue {
    at::Tensor scores = at::matmul(linear(norm(in[0])), in[1].transpose(1, 2));
    return at::matmul(scores.softmax(-1), in[1]);
  };
  addCallable(compiler, "f", call, holder.ptr().get(),
              {torch::randn({2, 3, 6}), torch::randn({2, 5, 6})},
              {.input = {"q=[1..4, 1..8, 6]", "k=[1..4, 1..16, 6]"}});
  compiler.write(at("m.mlpackage"));
  Session session = Program(at("m.mlpackage")).session();
  torch::NoGradGuard noGrad;
  for (auto [batch, rows, keys] : {std::array{1, 1, 1}, {4, 8, 16}, {2, 5, 3}}) {
    at::Tensor q = torch::randn({batch, rows, 6}), k = torch::randn({batch, keys, 6});
    EXPECT_TRUE(
        close(run(session, {{"q", q}, {"k", k}}).begin()->second, call({q, k}).toTensor(), 1e-4));
  }
}

TEST_F(ModuleKinds, ExamplesAreTakenAsTheyAre) {
  nn::Linear linear(4, 3);
  at::Tensor wide = torch::randn({4, 8});
  at::Tensor strided = wide.t().slice(0, 0, 8, 2).requires_grad_(); // 4 x 4, every second row
  expectSame(linear, {strided.detach()});
  Compiler compiler;
  add(compiler, "f", linear, {strided});
  EXPECT_TRUE(strided.requires_grad());
  EXPECT_FALSE(strided.grad().defined());
  {
    c10::InferenceMode inference; // as a pipeline that only evaluates runs
    add(compiler, "g", linear, {torch::randn({4, 4})});
  }
  compiler.write(at("m.mlpackage"));
}

TEST_F(ModuleKinds, MixedPrecision) {
  struct MixedImpl : nn::Module {
    MixedImpl() {
      body = register_module("body", nn::Linear(8, 8));
      head = register_module("head", nn::Linear(8, 4));
      body->to(at::kBFloat16);
    }
    at::Tensor forward(at::Tensor x) {
      return head(body(x.to(at::kBFloat16)).relu().to(at::kFloat));
    }
    nn::Linear body{nullptr}, head{nullptr};
  };
  auto model = std::make_shared<MixedImpl>();
  expectSame(
      [&](const std::vector<at::Tensor> &in) -> c10::IValue { return model->forward(in[0]); },
      model.get(), {torch::randn({2, 8})}, {}, 2e-2);
}

TEST_F(ModuleKinds, AdaptersAreNotForTraces) {
  nn::Linear linear(4, 3);
  Compiler compiler;
  EXPECT_THAT(
      message([&] { add(compiler, "f", linear, {torch::randn({1, 4})}, {.adapter = "folder"}); }),
      HasSubstr("an adapter is applied to modules that a TorchScript model calls"));
}

} // namespace
