// Ending what runs LibTorch: tracing between two operations of the model, and verification.
#include "ApiTestUtils.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/nn/modules.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace plait::test {

namespace {

using Reason = Exception::Reason;

class Cancelling : public ApiTest {
protected:
  /// A model of some operations, saved and compiled.
  Program compiled() {
    torch::jit::Module module("Model");
    module.define("def forward(self, x):\n    return torch.tanh(x * 2 + 1) - x\n");
    module.save(at("m.pt"));
    Compiler compiler = inFp32();
    compiler.addFile("main", at("m.pt"), {.input = {"x=[2, 4]"}});
    compiler.write(at("m.mlpackage"));
    return Program(at("m.mlpackage"));
  }

  Compiler compiler;
  at::Tensor x = at::ones({2, 4});
};

TEST_F(Cancelling, TracingEndsBetweenTwoOperations) {
  for (int run : {0, 2}) { // the first, and one with other values
    int operations = 0;
    bool caught = false;
    auto function = [&](at::Tensor x) {
      try {
        for (int i = 0; i < 20; ++i) {
          x = x * 2;
          if (++operations == run * 20 + 7)
            compiler.cancel();
        }
      } catch (const c10::Error &) { // the model may go on for all that
        caught = true;
      }
      return x;
    };
    try {
      add(compiler, "f", function, {x});
      FAIL() << "not cancelled";
    } catch (const Exception &error) {
      EXPECT_EQ(error.reason(), Reason::Cancelled) << error.what();
    }
    EXPECT_TRUE(caught);
    EXPECT_LE(operations, run * 20 + 8);
    EXPECT_TRUE(compiler.functions().empty());
  }
  // LibTorch is as it was.
  EXPECT_TRUE(at::equal(x * 2, at::full({2, 4}, 2)));
  add(compiler, "f", [](at::Tensor x) { return x * 2; }, {x});
  compiler.write(at("m.mlpackage"));
}

TEST_F(Cancelling, TracingEndsWhereverItIs) {
  // From another thread: also before LibTorch's first operation, and behind the last one.
  torch::nn::Sequential model;
  for (int i = 0; i < 300; ++i)
    model->push_back(torch::nn::ReLU());
  auto began = std::chrono::steady_clock::now();
  auto sinceThen = [&] { return std::chrono::steady_clock::now() - began; };
  add(compiler, "whole", model, {x});
  auto whole = sinceThen();
  constexpr int moments = 40;
  for (int moment = 0; moment < moments; ++moment) {
    std::atomic<bool> adding = false;
    Compiler one;
    std::thread other([&] {
      while (!adding)
        std::this_thread::yield();
      std::this_thread::sleep_for(whole * moment / moments);
      one.cancel();
    });
    try {
      adding = true;
      add(one, "f", model, {x});
    } catch (const Exception &error) {
      EXPECT_EQ(error.reason(), Reason::Cancelled) << error.what();
    }
    other.join();
  }
}

TEST_F(Cancelling, VerificationTellsHowFarItIs) {
  Program program = compiled();
  std::vector<Progress> seen;
  VerifyOptions options;
  options.draws = 2;
  options.onProgress = [&](const Progress &progress) { seen.push_back(progress); };
  EXPECT_TRUE(verify(program, "", at("m.pt"), options).passed);
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0].what, "main: running the model, draw 1 of 2, step 1 of 1");
  for (size_t i = 1; i < seen.size(); ++i)
    EXPECT_LT(seen[i - 1].done, seen[i].done);
  EXPECT_LT(seen.back().done, 1);
}

TEST_F(Cancelling, VerificationThrowsWhatItsCallbackThrows) {
  Program program = compiled();
  VerifyOptions options;
  options.onProgress = [](const Progress &) { throw 7; };
  EXPECT_THROW(verify(program, "", at("m.pt"), options), int);
  EXPECT_TRUE(verify(program, "", at("m.pt")).passed);
}

#ifdef __cpp_lib_jthread
TEST_F(Cancelling, AStopTokenEndsAVerification) {
  Program program = compiled();
  for (int call : {0, 1, 2}) { // before it begins, before the model runs, before the function does
    std::stop_source stop;
    int calls = 0;
    VerifyOptions options;
    options.onProgress = [&](const Progress &) {
      if (++calls == call)
        stop.request_stop();
    };
    if (call == 0)
      stop.request_stop();
    try {
      verify(program, "", at("m.pt"), options, stop.get_token());
      ADD_FAILURE() << "not stopped";
    } catch (const Exception &error) {
      EXPECT_EQ(error.reason(), Reason::Cancelled) << error.what();
      EXPECT_THAT(error.what(), testing::HasSubstr("m.pt: cancelled"));
    }
    EXPECT_LE(calls, std::max(call, 1));
  }
  EXPECT_TRUE(verify(program, "", at("m.pt"), {}, std::stop_source().get_token()).passed);
}
#endif

} // namespace

} // namespace plait::test
