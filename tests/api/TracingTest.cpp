// What a trace cannot hold: sizes and values that decide something, found by tracing again. And the
// random numbers of the process.
#include "ApiTestUtils.h"

#include "llvm/ADT/ScopeExit.h"

#include <torch/nn/functional/dropout.h>
#include <torch/nn/modules.h>

#include <atomic>
#include <set>
#include <thread>

using namespace plait;
using testing::AllOf;
using testing::HasSubstr;

namespace {

class Tracing : public plait::test::ApiTest {
protected:
  using Inputs = std::vector<at::Tensor>;
  /// What adding says: an exception's text, or "" and the warnings in `warnings`.
  template <typename Call>
  std::string trace(Call call, const Inputs &examples, std::vector<std::string> input = {}) {
    warnings.clear();
    Compiler compiler;
    compiler.onLog([&](Severity severity, std::string_view text) {
      if (severity == Severity::warning)
        warnings.emplace_back(text);
    });
    try {
      add(compiler, "f", call, examples, {.input = std::move(input)});
    } catch (const Exception &error) {
      EXPECT_EQ(error.reason(), Exception::Reason::Unsupported) << error.what();
      return error.what();
    }
    return "";
  }
  std::vector<std::string> warnings;
};

constexpr const char *frozen = "holds sizes of the examples as plain numbers";

TEST_F(Tracing, SizesThatDecideAreErrors) {
  at::Tensor x = at::rand({4, 8});
  std::vector<std::string> range{"x=[1..16, 8]"};
  EXPECT_THAT(trace([](at::Tensor x) { return x.size(0) == 1 ? x * 2 : x.relu(); }, {x}, range),
              HasSubstr(frozen));
  EXPECT_THAT(trace([](at::Tensor x) { return x.size(0) > 8 ? x.tanh() : x.relu(); }, {x}, range),
              AllOf(HasSubstr(frozen), HasSubstr("is aten::relu in one and aten::tanh")));
  EXPECT_THAT(trace([](at::Tensor x) { return x.size(0) == 2 ? x.tanh() : x.relu(); }, {x}, range),
              HasSubstr("[2, 8]"));
  EXPECT_THAT(trace([](at::Tensor x) { return x.size(0) == 16 ? x.tanh() : x.relu(); }, {x}, range),
              HasSubstr("[16, 8]"));
  EXPECT_THAT(trace([](at::Tensor x) { return x / double(x.size(0)); }, {x}, range),
              HasSubstr(frozen));
  EXPECT_THAT(trace([](at::Tensor x) { return x + at::ones({x.size(0), 1}); }, {x}, range),
              HasSubstr(frozen));
  EXPECT_EQ(trace([](at::Tensor x) { return x.softmax(-1).flatten(1); }, {x}, range), "");
}

TEST_F(Tracing, RanksThatSizesDecideAreErrors) {
  EXPECT_THAT(
      trace([](at::Tensor x) { return x.unsqueeze(1).squeeze(); }, {at::rand({4, 8})},
            {"x=[1..16, 8]"}),
      AllOf(HasSubstr(frozen), HasSubstr("aten::squeeze, gives Float of 2 dimensions in one "
                                         "and Float of 1 dimensions")));
}

TEST_F(Tracing, EveryEnumeratedShapeIsTraced) {
  EXPECT_THAT(trace([](at::Tensor x) { return x.size(1) == 5 ? x.tanh() : x.relu(); },
                    {at::rand({1, 3})}, {"x={[1, 3], [1, 4], [1, 5], [1, 6]}"}),
              HasSubstr("[1, 5]"));
}

TEST_F(Tracing, SizesOfSeveralInputs) {
  auto each = [](at::Tensor q, at::Tensor k) {
    at::Tensor scores = q.matmul(k.t());
    return k.size(0) == 1 ? scores * 2 : scores; // its own end, whatever q is
  };
  EXPECT_THAT(trace(each, {at::rand({2, 4}), at::rand({3, 4})}, {"q=[1..9, 4]", "k=[1..20, 4]"}),
              HasSubstr(frozen));
  // Declared alike, and yet not always the same.
  auto alike = [](at::Tensor a, at::Tensor b) {
    return a.size(0) == b.size(0) ? a.mean(0) + b.mean(0) : a.mean(0);
  };
  EXPECT_THAT(trace(alike, {at::rand({3, 4}), at::rand({3, 4})}, {"a=[1..9, 4]", "b=[1..9, 4]"}),
              HasSubstr(frozen));
  // A model that wants them equal gets them so.
  EXPECT_EQ(trace([](at::Tensor a, at::Tensor b) { return at::cat({a, b}, 1); },
                  {at::rand({3, 4}), at::rand({3, 4})}, {"a=[1..9, 4]", "b=[1..9, 4]"}),
            "");
}

TEST_F(Tracing, SizesThatTakeTooMuchMemoryAreSaidToBeLeftOut) {
  EXPECT_EQ(
      trace([](at::Tensor x) { return x.relu(); }, {at::rand({2, 1024})}, {"x=[1..1000000, 1024]"}),
      "");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("was not traced at the sizes [1000000, 1024]"));
}

TEST_F(Tracing, ValuesThatDecideAreWarnedOfWithTheirPlace) {
  torch::nn::Linear layer(8, 8);
  auto warned = [&](auto decide) {
    Compiler compiler;
    warnings.clear();
    compiler.onLog([&](Severity, std::string_view text) { warnings.emplace_back(text); });
    add(compiler, "f",
        [&](at::Tensor x) {
          at::Tensor y = layer(x);
          return decide(x, y) ? y.relu() : y.tanh();
        },
        layer, {at::rand({2, 8})});
    return warnings.size() == 1 ? warnings[0] : std::to_string(warnings.size()) + " warnings";
  };
  auto item = [](const at::Tensor &x) { return x.item<float>(); };
  auto place = HasSubstr("reads a number out of the result of aten::sum (operation 3, behind the "
                         "one that uses '");
  auto differs = HasSubstr("aten::relu in one and aten::tanh");
  EXPECT_THAT(warned([&](auto x, auto y) { return item(y.sum()) > -1e9; }), place);
  EXPECT_THAT(warned([&](auto x, auto) { return item(x.abs().max()) > 1e-9; }),
              differs); // zeros
  EXPECT_THAT(warned([&](auto x, auto) { return item(x.min()) > -0.9; }), HasSubstr("frozen"));
  EXPECT_THAT(warned([&](auto x, auto) { return item(x.max()) < 500; }), HasSubstr("frozen"));
  // What no draw finds is read all the same.
  EXPECT_THAT(warned([&](auto x, auto) { return item(x.max()) < 123456; }),
              AllOf(HasSubstr("the result of aten::max"), HasSubstr("if it decides anything")));
  // What is read through a pointer only a draw can find.
  EXPECT_THAT(warned([&](auto x, auto) { return x.template data_ptr<float>()[0] != 0; }), differs);
  // A constant, and a size as a tensor, are no inputs.
  EXPECT_EQ(warned([&](auto, auto) { return item(layer->weight.detach().sum()) < 1e9; }),
            "0 warnings");
}

TEST_F(Tracing, ValuesOfOneInputAmongSeveral) {
  EXPECT_EQ(trace([](at::Tensor x,
                     at::Tensor mask) { return mask.data_ptr<bool>()[0] ? x.relu() : x.tanh(); },
                  {at::rand({3}), at::ones({3}, at::kBool)}),
            "");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("aten::relu in one and aten::tanh"));
}

/// Draws in evaluation mode too.
struct NoisyImpl : torch::nn::Module {
  explicit NoisyImpl(bool drops) : drops(drops) {}
  at::Tensor forward(at::Tensor x) {
    for (int i = 0; i < 20; ++i)
      x = x + at::rand_like(x);
    return drops ? torch::nn::functional::dropout(
                       x, torch::nn::functional::DropoutFuncOptions().training(true))
                 : x;
  }
  bool drops;
};

TEST_F(Tracing, TheRandomNumbersOfTheProcessGoOn) {
  NoisyImpl noisy(/*drops=*/true);
  torch::manual_seed(3);
  at::Tensor expected = at::rand({64});
  torch::manual_seed(3);
  Compiler compiler;
  at::Tensor before = at::rand({32});
  add(compiler, "f", noisy, {at::rand({4}, at::detail::createCPUGenerator(1))});
  EXPECT_TRUE(at::equal(at::cat({before, at::rand({32})}), expected));
  EXPECT_THAT(message([&] { compiler.write(at("m.mlpackage")); }),
              HasSubstr("dropout in training mode draws random numbers"));
}

TEST_F(Tracing, NoThreadDrawsANumberTwice) {
  NoisyImpl noisy(/*drops=*/false);
  at::Tensor x = at::rand({64, 64});
  std::atomic<bool> stop = false, running = false;
  std::vector<int64_t> drawn;
  std::thread other([&] {
    while (!stop) {
      drawn.push_back(at::randint(INT64_MAX, {1}, at::kLong).item<int64_t>());
      running = true;
    }
  });
  auto join = llvm::make_scope_exit([&] {
    stop = true;
    other.join();
  });
  while (!running)
    std::this_thread::yield();
  for (int i = 0; i < 10; ++i) {
    Compiler compiler;
    add(compiler, "noisy", noisy, {x});
    add(compiler, "quiet", torch::nn::Linear(64, 4), {x});
    compiler.write(at("m.mlpackage"));
  }
  stop = true;
  join.release();
  other.join();
  EXPECT_EQ(std::set<int64_t>(drawn.begin(), drawn.end()).size(), drawn.size());
}

TEST_F(Tracing, AnErrorThatTheModelCatchesEndsTheRecording) {
  Compiler compiler;
  auto function = [](at::Tensor x) {
    try {
      return at::matmul(x, x);
    } catch (const c10::Error &) {
      return x * 2;
    }
  };
  EXPECT_THAT(message([&] { add(compiler, "f", function, {at::ones({2, 4})}); }),
              HasSubstr("goes on after an error of LibTorch's"));
  EXPECT_TRUE(compiler.functions().empty());
  EXPECT_TRUE(at::equal(function(at::ones({2, 4})), at::full({2, 4}, 2)))
      << "LibTorch is as it was";
}

} // namespace
