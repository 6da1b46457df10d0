// What cannot be is refused where it is said: with plait::Exception, and with nothing changed.
#include "ApiTestUtils.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/nn/modules.h>
#include <torch/nn/modules/container/any.h>

#include <fstream>
#include <thread>

using namespace plait;
using testing::ElementsAre;
using testing::HasSubstr;
namespace nn = torch::nn;
using Reason = Exception::Reason;

namespace {

class Misuse : public plait::test::ApiTest {
protected:
  /// Reason and text of the exception; nothing was added.
  template <typename Call> std::pair<Reason, std::string> refusal(Call call) {
    size_t before = compiler.functions().size();
    try {
      call();
    } catch (const Exception &error) {
      EXPECT_EQ(compiler.functions().size(), before);
      return {error.reason(), error.what()};
    }
    ADD_FAILURE() << "nothing was thrown";
    return {};
  }
  Compiler compiler;
  at::Tensor x = at::rand({2, 4});
};

torch::jit::Module scripted() {
  torch::jit::Module module("Scripted");
  module.register_parameter("weight", at::rand({4}), /*is_buffer=*/false);
  module.define(R"(
    def forward(self, x):
        return x * self.weight
    def two(self, x, y):
        return x + y * self.weight
    def number(self, x, n: int):
        return x * n
  )");
  return module;
}

using testing::Pair;

TEST_F(Misuse, ThereIsNoModel) {
  auto null = Pair(Reason::Input, HasSubstr("function 'f': there is no model"));
  nn::Linear empty = nullptr;
  EXPECT_THAT(refusal([&] { add(compiler, "f", empty, {x}); }), null);
  EXPECT_THAT(refusal([&] { add(compiler, "f", std::shared_ptr<nn::LinearImpl>(), {x}); }), null);
  EXPECT_THAT(refusal([&] { add(compiler, "f", static_cast<nn::LinearImpl *>(nullptr), {x}); }),
              null);
  EXPECT_THAT(refusal([&] { add(compiler, "f", nn::AnyModule(), {x}); }), null);
  EXPECT_THAT(refusal([&] { add(compiler, "f", std::function<at::Tensor(at::Tensor)>(), {x}); }),
              null);
  EXPECT_THAT(refusal([&] { addCallable(compiler, "f", Callable(), nullptr, {x}); }), null);
  auto call = [](at::Tensor x) { return x; };
  EXPECT_THAT(refusal([&] { add(compiler, "f", call, empty, {x}); }), null);
  EXPECT_THAT(
      refusal([&] { add(compiler, "f", torch::jit::Module(), {.input = {"x=[2, 4]"}}); }).second,
      HasSubstr("function 'f'"));
}

TEST_F(Misuse, ASubmoduleIsNull) {
  struct OuterImpl : nn::Module {
    OuterImpl() {
      inner = register_module("inner", nn::Sequential(nn::Linear(4, 4)));
      inner->register_module("gone", std::shared_ptr<nn::LinearImpl>());
    }
    at::Tensor forward(at::Tensor x) { return x; }
    nn::Sequential inner{nullptr};
  };
  EXPECT_THAT(refusal([&] { add(compiler, "f", std::make_shared<OuterImpl>(), {x}); }),
              Pair(Reason::Input, HasSubstr("the submodule 'inner.gone' is null")));
}

TEST_F(Misuse, ACallbackThatWritesWithTheSameCompiler) {
  add(compiler, "f", nn::Linear(4, 3), {x});
  compiler.onProgress([&](const Progress &) { compiler.write(at("other.mlpackage")); });
  EXPECT_THAT(refusal([&] { compiler.write(at("m.mlpackage")); }),
              Pair(Reason::Input, HasSubstr("other.mlpackage: this Compiler is writing")));
  EXPECT_EQ(entries(), 0u);
  compiler.onProgress(nullptr);
  compiler.write(at("m.mlpackage"));
}

TEST_F(Misuse, PackagesAndOptionsThatCannotBe) {
  auto option = [](const char *text) { return Pair(Reason::Option, HasSubstr(text)); };
  auto file = [](const char *text) { return Pair(Reason::File, HasSubstr(text)); };
  nn::Linear model(4, 3);
  EXPECT_THAT(refusal([&] { add(compiler, "f", model, {x}, {.loraAlpha = 2.0}); }),
              option("loraAlpha says something of an adapter"));
  EXPECT_THAT(refusal([&] { add(compiler, "f", model, {x}, {.adapterRoot = ""}); }),
              option("adapterRoot says something of an adapter"));
  add(compiler, "f", model, {x});
  EXPECT_THAT(refusal([&] { compiler.addTo(at("none.mlpackage")); }), file("no such package"));
  compiler.write(at("m.mlpackage"));
  EXPECT_THAT(refusal([&] { compiler.addTo(at("m.mlpackage")); }),
              option("there is a function 'f' already"));
  EXPECT_THAT(refusal([&] { merge(at("n.mlpackage"), {{at("none.mlpackage")}}); }),
              file("no such package"));
  EXPECT_THAT(refusal([&] { merge(at("n.mlpackage"), {{at("m.mlpackage"), "g"}}); }),
              option("there is no function 'g'"));
  EXPECT_THAT(refusal([&] { remove(at("m.mlpackage"), {"g"}); }),
              option("there is no function 'g'"));
  EXPECT_THAT(refusal([&] { packAdapter(at("none"), at("m.mlpackage")); }).first, Reason::File);
  Program program(at("m.mlpackage"));
  EXPECT_THAT(refusal([&] { program.session("f", {.trace = {"nothing"}}); }),
              option("computes no value named 'nothing'"));
  EXPECT_THAT(refusal([&] { verify(program, "g", at("x.pt")); }).first, Reason::Option);
  EXPECT_THAT(refusal([&] { verify(program, "f", at("x.pt")); }).first, Reason::File);
  compiler.options().precision = Precision(7);
  EXPECT_THAT(refusal([&] { compiler.write(at("m.mlpackage")); }), option("none of Precision's"));
}

/// Module::to(at::kMeta) is refused by LibTorch itself.
struct OnMetaImpl : nn::Module {
  OnMetaImpl() { weight = register_parameter("weight", at::empty({3, 4}, at::kMeta)); }
  at::Tensor forward(at::Tensor x) { return at::linear(x, weight); }
  at::Tensor weight;
};
TORCH_MODULE(OnMeta);

TEST_F(Misuse, TheMetaDeviceHasNoValues) {
  OnMeta onMeta;
  nn::Linear mixed(4, 3);
  mixed->bias = mixed->register_parameter("other", at::empty({3}, at::kMeta));
  auto meta = Pair(Reason::Input, HasSubstr("is on the meta device"));
  EXPECT_THAT(refusal([&] { add(compiler, "f", onMeta, {x}); }), meta);
  EXPECT_THAT(refusal([&] { add(compiler, "f", onMeta, {x.to(at::kMeta)}); }), meta);
  EXPECT_THAT(refusal([&] { add(compiler, "f", mixed, {x}); }), meta);
  EXPECT_THAT(refusal([&] { add(compiler, "f", nn::Linear(4, 3), {x.to(at::kMeta)}); }), meta);
  torch::jit::Module script = scripted();
  script.setattr("weight", at::empty({4}, at::kMeta));
  EXPECT_THAT(refusal([&] { add(compiler, "f", script, {.input = {"x=[2, 4]"}}); }), meta);
}

TEST_F(Misuse, WhatWasMovedFrom) {
  Compiler other = std::move(compiler);
  auto moved = HasSubstr("was moved from");
  EXPECT_THAT(message([&] { add(compiler, "f", nn::Linear(4, 3), {x}); }), moved);
  EXPECT_THAT(message([&] { add(compiler, "f", scripted(), {.input = {"x=[2, 4]"}}); }), moved);
  EXPECT_THAT(message([&] { compiler.addFile("f", "x.pt"); }), moved);
  EXPECT_THAT(message([&] { compiler.write(at("m.mlpackage")); }), moved);
  EXPECT_THAT(message([&] { compiler.addTo(at("m.mlpackage")); }), moved);
  EXPECT_THAT(message([&] { compiler.options(); }), moved);
  EXPECT_THAT(message([&] { compiler.functions(); }), moved);
  EXPECT_THAT(message([&] { compiler.onLog(nullptr); }), moved);
  compiler.cancel();
  add(other, "f", nn::Linear(4, 3), {x});
  other.write(at("m.mlpackage"));
  Program program(at("m.mlpackage")), elsewhere = std::move(program);
  EXPECT_THAT(message([&] { program.functions(); }), moved);
  EXPECT_THAT(message([&] { program.defaultFunction(); }), moved);
  EXPECT_THAT(message([&] { program.session(); }), moved);
  EXPECT_THAT(message([&] { verify(program, "", "x.pt"); }), moved);
  Session session = elsewhere.session(), taken = std::move(session);
  EXPECT_THAT(message([&] { run(session, {{"input", x}}); }), moved);
  EXPECT_THAT(message([&] { session.run({}); }), moved);
  EXPECT_THAT(message([&] { session.states(); }), moved);
  EXPECT_THAT(message([&] { session.resetStates(); }), moved);
  EXPECT_THAT(message([&] { session.setStates({}); }), moved);
  EXPECT_THAT(message([&] { session.function(); }), moved);
  EXPECT_THAT(message([&] { session.profile(); }), moved);
  EXPECT_THAT(message([&] { session.traced(); }), moved);
  EXPECT_THAT(message([&] { Session copy(session); }), moved);
  compiler = std::move(other); // and in again
  EXPECT_THAT(compiler.functions(), ElementsAre("f"));
}

TEST_F(Misuse, ExceptionsOfTheModelComeOutAsTheyAre) {
  struct Own {
    int code;
  };
  auto throws = [&](auto what) {
    return [what](at::Tensor x) -> at::Tensor {
      if (x.defined())
        throw what;
      return x;
    };
  };
  EXPECT_THROW(add(compiler, "f", throws(std::logic_error("mine")), {x}), std::logic_error);
  EXPECT_THROW(add(compiler, "f", throws(42), {x}), int);
  EXPECT_THROW(add(compiler, "f", throws(Own{3}), {x}), Own);
  EXPECT_THROW(add(compiler, "f", throws(Exception("mine", Reason::File)), {x}), Exception);
  EXPECT_THAT(refusal([&] { add(compiler, "f", nn::Linear(5, 3), {x}); }),
              Pair(Reason::Input, HasSubstr("function 'f': the model cannot be traced: ")));
  // With other values it may throw what it likes.
  add(compiler, "f", [](at::Tensor x) { return x.data_ptr<float>()[0] < 0 ? throw Own{1} : x * 2; },
      {x});
  compiler.onProgress([](const Progress &) { throw Own{4}; });
  EXPECT_THROW(compiler.write(at("m.mlpackage")), Own);
  compiler.onProgress(nullptr);
  compiler.onLog([](Severity, std::string_view) { throw 7; });
  EXPECT_THROW(compiler.write(at("m.mlpackage")), int);
  EXPECT_EQ(entries(), 0u);
}

TEST_F(Misuse, AForwardThatUsesPlaitIsRefused) {
  add(compiler, "g", nn::Linear(4, 3), {x});
  auto refused = HasSubstr("a forward() that is being traced");
  auto with = [&](auto use) {
    return message([&] {
      Compiler other;
      add(other, "f",
          [&](at::Tensor x) {
            use();
            return x * 2;
          },
          {x});
    });
  };
  EXPECT_THAT(with([&] { add(compiler, "h", nn::Linear(4, 3), {x}); }), refused);
  EXPECT_THAT(with([&] { add(compiler, "h", scripted(), {.input = {"x=[2, 4]"}}); }), refused);
  EXPECT_THAT(with([&] { compiler.write(at("m.mlpackage")); }), refused);
  EXPECT_THAT(with([&] { compiler.addFile("h", "x.pt"); }), refused);
  add(compiler, "h", nn::Linear(4, 3), {x}); // nothing is left behind
}

TEST_F(Misuse, AThreadThatForwardWaitsForMayAddAnotherModel) {
  nn::Linear model(4, 3);
  std::string said;
  auto addInThread = [&](auto &other) {
    return [&](at::Tensor x) {
      if (said.empty())
        std::thread([&] {
          Compiler inner;
          said = message([&] { add(inner, "g", other, {at::ones({2, 4})}); });
        }).join();
      return model(x);
    };
  };
  nn::Linear own(4, 3);
  add(compiler, "f", addInThread(own), model, {x});
  EXPECT_EQ(said, "(no exception)");
  // The same one would have to rest.
  said.clear();
  add(compiler, "h", addInThread(model), model, {x});
  EXPECT_THAT(said, HasSubstr("function 'g': another thread is adding it or a model that shares"));
  EXPECT_THAT(said, HasSubstr("Add models outside of forward()"));
  compiler.write(at("m.mlpackage"));
}

TEST_F(Misuse, AddingIsCancelledBetweenTwoRunsOfTheModel) {
  int runs = 0;
  auto function = [&](at::Tensor x) {
    if (++runs == 2)
      compiler.cancel();
    return x * 2;
  };
  EXPECT_THAT(refusal([&] { add(compiler, "f", function, {x}); }),
              Pair(Reason::Cancelled, HasSubstr("cancelled while it was traced")));
  EXPECT_EQ(runs, 2);
  EXPECT_TRUE(compiler.functions().empty());
  add(compiler, "f", function, {x}); // that was all
  compiler.write(at("m.mlpackage"));
}

TEST_F(Misuse, NamesThatCannotBe) {
  nn::Linear model(4, 3);
  auto option = [](const char *text) { return Pair(Reason::Option, HasSubstr(text)); };
  add(compiler, "taken", model, {x});
  EXPECT_THAT(refusal([&] { add(compiler, "taken", model, {x}); }), option("two functions"));
  for (const char *name : {"", "1st", "a b", "a-b", "func"}) {
    EXPECT_THAT(refusal([&] { add(compiler, name, model, {x}); }),
                option("cannot name a function"));
    EXPECT_THAT(refusal([&] { add(compiler, name, scripted(), {.input = {"x=[2, 4]"}}); }),
                option("cannot name a function"));
  }
  auto with = [&](FunctionOptions options) {
    return refusal([&] { add(compiler, "f", model, {x}, options); });
  };
  EXPECT_THAT(with({.input = {"a b=[2, 4]"}}), option("cannot be a name"));
  EXPECT_THAT(with({.input = {"func"}}), option("cannot be a name"));
  EXPECT_THAT(with({.input = {"x"}, .output = {"x"}}), option("are called 'x'"));
  EXPECT_THAT(with({.output = {"a b"}}), option("the output name 'a b'"));
  EXPECT_THAT(with({.output = {"a", "b"}}), option("2 outputs are named, but the model gives 1"));
  EXPECT_THAT(with({.method = "encode"}), option("no method 'encode'"));
  EXPECT_THAT(with({.input = {"x=[2, 4"}}), option("is wanted"));
  EXPECT_THAT(with({.input = {"x", "y"}}).second,
              HasSubstr("2 inputs are declared and 1 examples"));
}

TEST_F(Misuse, MethodsAndInputsThatCannotBe) {
  auto option = [](const char *text) { return Pair(Reason::Option, HasSubstr(text)); };
  torch::jit::Module module = scripted();
  module.save(at("model.pt"));
  auto with = [&](FunctionOptions options) {
    auto [reason, text] = refusal([&] { compiler.addFile("f", at("model.pt"), options); });
    EXPECT_EQ(reason, Reason::Option) << text;
    return refusal([&] { add(compiler, "f", module, options); });
  };
  EXPECT_THAT(with({.input = {"x=[2, 4]"}, .method = "none"}),
              option("no method 'none': it has forward"));
  EXPECT_THAT(
      with({.input = {"x=[2, 4]"}, .method = "two"}),
      option("takes a tensor 'y' that no input is declared for; add FunctionOptions::input = "
             "{\"y=[…]\"}"));
  EXPECT_THAT(with({.input = {"x=[2, 4]", "y=[4]"}}),
              option("2 inputs are declared, but forward takes 1"));
  EXPECT_THAT(with({.input = {"x=[2, 4]"}, .method = "number"}),
              option("argument 'n' has type int"));
  EXPECT_THAT(with({.input = {"x"}}), option("a shape is wanted"));
  EXPECT_THAT(refusal([&] { compiler.addFile("f", at("none.pt"), {.input = {"x=[2, 4]"}}); }),
              Pair(Reason::File, HasSubstr("none.pt: no such file")));
  std::ofstream(at("noise.pt")) << "noise";
  EXPECT_THAT(refusal([&] { compiler.addFile("f", at("noise.pt"), {.input = {"x=[2, 4]"}}); }),
              Pair(Reason::File, HasSubstr("noise.pt")));
}

/// A model that adds what it is given to a buffer `kept`.
static torch::jit::Module keepsSums() {
  torch::jit::Module module("Keeps");
  module.register_buffer("kept", at::zeros({2, 4}));
  module.define(R"(
    def forward(self, x):
        self.kept.add_(x)
        return self.kept * 2
  )");
  return module;
}

TEST_F(Misuse, WhatTheModelDoesNotHave) {
  auto option = [](const char *text) { return Pair(Reason::Option, HasSubstr(text)); };
  torch::jit::Module module = keepsSums();
  module.save(at("model.pt"));
  std::ofstream(at("labels.txt")) << "cat\ndog\n";
  nn::Linear live(4, 2);
  auto withLive = [&](FunctionOptions options) {
    return refusal([&] { add(compiler, "f", live, {x}, std::move(options)); });
  };
  auto with = [&](FunctionOptions options) {
    options.input = {"x=[2, 4]"};
    auto [reason, text] = refusal([&] { compiler.addFile("f", at("model.pt"), options); });
    EXPECT_EQ(reason, Reason::Option) << text;
    return refusal([&] { add(compiler, "f", module, options); });
  };
  auto texts = option("no input, output or state 'y' to be described");
  EXPECT_THAT(withLive({.output = {"z"}, .describe = {{"y", "text"}}}), texts);
  EXPECT_THAT(with({.output = {"z"}, .describe = {{"y", "text"}}, .states = {"auto"}}), texts);
  EXPECT_THAT(withLive({.states = {"bais=input"}}), option("did you mean 'bias'"));
  EXPECT_THAT(with({.states = {"kep=none"}}), option("did you mean 'kept'"));
  EXPECT_THAT(with({.states = {"kept=fp16[4, 4]"}}), option("in the model it is [2, 4]"));
  EXPECT_THAT(with({.output = {"y", "z"}, .states = {"auto"}}),
              option("2 outputs are named, but forward returns 1"));
  EXPECT_THAT(with({.output = {"kept"}, .states = {"auto"}}), option("are called 'kept'"));
  EXPECT_THAT(with({.output = {"y=image[gray]"}, .states = {"none"}}), option("output 'y' is"));
  auto classes = [&](const char *scores) {
    return withLive({.output = {"y"}, .classes = at("labels.txt"), .classOutput = scores});
  };
  EXPECT_THAT(classes("p"), option("no output 'p'"));
  EXPECT_THAT(classes("y"), option("there are 2 classes, but output 'y' is"));
  for (const std::string &adapter : {at("none"), at("labels.txt")})
    EXPECT_EQ(refusal([&] {
                compiler.addFile("f", at("model.pt"),
                                 {.input = {"x=[2, 4]"}, .states = {"auto"}, .adapter = adapter});
              }).first,
              Reason::File);
  // What is there is taken, and written.
  FunctionOptions right{.input = {"x=[2, 4]"},
                        .output = {"y"},
                        .describe = {{"x", "in"}, {"y", "out"}, {"kept", "sum"}},
                        .states = {"kept=fp16[2, 4]"}};
  compiler.addFile("file", at("model.pt"), right);
  add(compiler, "memory", module, right);
  add(compiler, "live", live, {x}, {.output = {"y"}, .describe = {{"y", "out"}}});
  EXPECT_EQ(compiler.write(at("m.mlpackage")).functions.size(), 3u);
}

TEST_F(Misuse, WhatTheModelItselfLacksIsLeftToWrite) {
  torch::jit::Module module = keepsSums();
  add(compiler, "f", module, {.input = {"x=[2, 4]"}});
  EXPECT_THAT(refusal([&] { compiler.write(at("m.mlpackage")); }),
              Pair(Reason::Unsupported, HasSubstr("the model writes to its own 'kept'")));
}

TEST_F(Misuse, ExamplesThatCannotBe) {
  nn::ReLU model;
  auto with = [&](at::Tensor example, std::vector<std::string> input = {}) {
    return refusal([&] { add(compiler, "f", model, {example}, {.input = std::move(input)}); });
  };
  auto input = [](const char *text) { return Pair(Reason::Input, HasSubstr(text)); };
  EXPECT_THAT(with(at::scalar_tensor(3)), input("has no dimensions"));
  EXPECT_THAT(with(at::rand({1, 1, 1, 1, 1, 2})), input("more dimensions than the 5"));
  EXPECT_THAT(with(at::rand({0, 2})), input("has no elements"));
  EXPECT_THAT(with(at::Tensor()), input("is undefined"));
  EXPECT_THAT(with(at::rand({2}, at::kComplexFloat)), input("is complex"));
  EXPECT_THAT(with(at::rand({2, 2}).to_sparse()), input("is sparse"));
  EXPECT_THAT(with(at::rand({2}), {"x=int32[2]"}), input("is Float where int32 is declared"));
  EXPECT_THAT(with(at::rand({2}), {"x=[3]"}), input("of shape [2], lies outside"));
  EXPECT_THAT(refusal([&] { add(compiler, "f", model, {}); }), input("there are no examples"));
  EXPECT_THAT(refusal([&] { add(compiler, "f", model, {x, x}); }).second,
              HasSubstr("does not take 2 tensors"));
}

TEST_F(Misuse, FunctionsAreListedAndTakenOut) {
  nn::Linear model(4, 3);
  for (const char *name : {"a", "b", "c"})
    add(compiler, name, model, {x});
  EXPECT_THAT(compiler.functions(), ElementsAre("a", "b", "c"));
  compiler.removeFunction("b");
  EXPECT_THAT(compiler.functions(), ElementsAre("a", "c"));
  EXPECT_THAT(refusal([&] { compiler.removeFunction("b"); }),
              Pair(Reason::Option, HasSubstr("no function 'b'")));
  const Compiler &constant = compiler;
  EXPECT_EQ(constant.options().target, Target::ios18);
  EXPECT_EQ(compiler.write(at("m.mlpackage")).functions.size(), 2u);
}

TEST_F(Misuse, ProblemsAreAList) {
  torch::jit::Module inner("Inner");
  inner.define(R"(
    def forward(self, x):
        return torch.linalg_eigh(x)[0] + torch.linalg_svd(x)[0]
  )");
  torch::jit::Module module("Outer");
  module.register_module("decomposed", inner);
  module.define(R"(
    def forward(self, x):
        return self.decomposed.forward(x) + x
  )");
  add(compiler, "f", module, {.input = {"x=[4, 4]"}});
  try {
    compiler.write(at("m.mlpackage"));
    FAIL() << "it was compiled";
  } catch (const Exception &error) {
    EXPECT_EQ(error.reason(), Reason::Unsupported);
    ASSERT_EQ(error.problems().size(), 2u) << error.what();
    const Problem &problem = error.problems()[0];
    EXPECT_EQ(error.code(), "P0301");
    EXPECT_EQ(problem.code, "P0301");
    EXPECT_EQ(problem.function, "f");
    EXPECT_EQ(problem.operation, "aten::linalg_eigh");
    EXPECT_EQ(problem.module, "decomposed");
    EXPECT_EQ(problem.message, "aten::linalg_eigh is not supported");
    EXPECT_GT(problem.line, 0u) << problem.file;
    EXPECT_EQ(error.problems()[1].operation, "aten::linalg_svd");
  }
  EXPECT_THAT(refusal([&] { compiler.write(at("no_folder/m.mlpackage")); }),
              Pair(Reason::File, HasSubstr("no folder")));
  EXPECT_THAT(refusal([&] { compiler.write(at("m.zip")); }),
              Pair(Reason::Option, HasSubstr(".mlpackage")));
}

} // namespace
