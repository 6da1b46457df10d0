// Adapters, recipes, and packages that exist: adding, merging, removing, verifying.
#include "ApiTestUtils.h"

#include "llvm/ADT/StringExtras.h"
#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>

#include <fstream>

using namespace plait;
using plait::test::close;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

/// y = relu(layer(x)), in files of the test's folder, and LoRA adapters of `layer`.
class Packages : public plait::test::ApiTest {
protected:
  void SetUp() override {
    ApiTest::SetUp();
    at::manual_seed(1);
    weight = at::randn({16, 32});
    bias = at::randn({16});
    torch::jit::Module layer("Layer");
    layer.register_parameter("weight", weight, /*is_buffer=*/false);
    layer.register_parameter("bias", bias, /*is_buffer=*/false);
    layer.define("def forward(self, x):\n    return torch.linear(x, self.weight, self.bias)\n");
    base.register_module("layer", layer);
    base.define("def forward(self, x):\n    return torch.relu(self.layer.forward(x))\n");
    base.save(at("base.pt"));
    x = at::randn({1, 32});
  }

  /// A PEFT folder with a LoRA of rank 2 and alpha 4.
  std::string adapter(const std::string &name, const at::Tensor &a, const at::Tensor &b,
                      const std::vector<std::string> &modules = {"layer"}) const {
    std::string folder = at(name);
    llvm::sys::fs::create_directory(folder);
    std::ofstream(folder + "/adapter_config.json")
        << R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "target_modules": [")"
        << llvm::join(modules, "\", \"") << "\"]}";
    std::string header = "{", data;
    for (const std::string &module : modules)
      for (auto [factor, tensor] : {std::pair{"lora_A", a}, {"lora_B", b}}) {
        size_t begin = data.size();
        at::Tensor content = tensor.contiguous();
        data.append(static_cast<const char *>(content.const_data_ptr()), content.nbytes());
        header += (begin ? ",\"base_model.model." : "\"base_model.model.") + module + "." + factor +
                  ".weight\":{\"dtype\":\"F32\",\"shape\":[" + std::to_string(tensor.size(0)) +
                  "," + std::to_string(tensor.size(1)) + "],\"data_offsets\":[" +
                  std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
      }
    header += "}";
    uint64_t size = header.size();
    std::ofstream out(folder + "/adapter_model.safetensors", std::ios::binary);
    out.write(reinterpret_cast<const char *>(&size), 8);
    out << header << data;
    return folder;
  }

  at::Tensor expected(const at::Tensor &delta) const {
    return at::linear(x, weight + 2 * delta, bias).relu();
  }

  torch::jit::Module base{"Base"};
  at::Tensor weight, bias, x;
  FunctionOptions options{.input = {"x=[1, 32]"}, .output = {"y"}};
};

TEST_F(Packages, AdaptersOnFilesAndModules) {
  at::Tensor a1 = at::randn({2, 32}), b1 = at::randn({16, 2}), a2 = at::randn({2, 32}),
             b2 = at::randn({16, 2});
  std::string one = adapter("one", a1, b1), two = adapter("two", a2, b2);
  Compiler compiler = inFp32();
  compiler.addFile("plain", at("base.pt"), options);
  FunctionOptions with = options;
  with.adapter = one;
  compiler.addFile("file", at("base.pt"), with);
  add(compiler, "memory", base, with);
  with.adapter = one + ":0.5+" + two + ":0.25";
  compiler.addFile("blend", at("base.pt"), with);
  with.adapter = two;
  with.lora = Lora::fold;
  with.adapterRoot = "";
  compiler.addFile("folded", at("base.pt"), with);
  Report report = compiler.write(at("m.mlpackage"));
  EXPECT_EQ(report.adapterMap, "");
  EXPECT_GE(report.functions[1].sharedBytes, weight.nbytes());
  EXPECT_GE(report.functions[4].ownBytes, weight.nbytes());
  auto result = [&](const char *name) {
    return ApiTest::result(at("m.mlpackage"), name, {{"x", x}});
  };
  EXPECT_TRUE(close(result("plain"), expected(at::zeros({16, 32})), 1e-4));
  EXPECT_TRUE(close(result("file"), expected(b1.matmul(a1)), 1e-4));
  EXPECT_TRUE(close(result("memory"), expected(b1.matmul(a1)), 1e-4));
  EXPECT_TRUE(close(result("blend"), expected(0.5 * b1.matmul(a1) + 0.25 * b2.matmul(a2)), 1e-4));
  EXPECT_TRUE(close(result("folded"), expected(b2.matmul(a2)), 1e-4));
}

TEST_F(Packages, TensorsThatBelongToNoModule) {
  FunctionOptions with = options;
  with.adapter = adapter("other", at::ones({2, 32}), at::ones({16, 2}), {"layer", "other"});
  Compiler strict;
  EXPECT_THAT(message([&] { strict.addFile("f", at("base.pt"), with); }),
              HasSubstr("other.lora_A"));
  with.allowUnmatched = true;
  Compiler lenient;
  lenient.addFile("f", at("base.pt"), with);
  EXPECT_THAT(lenient.write(at("m.mlpackage")).warnings, ElementsAre(HasSubstr("other.lora_A")));
}

TEST_F(Packages, AScaleThatTheAdapterSays) {
  FunctionOptions with = options;
  with.adapter = adapter("one", at::ones({2, 32}), at::ones({16, 2}));
  with.loraScale = 0.5;
  Compiler compiler;
  EXPECT_THAT(message([&] { compiler.addFile("f", at("base.pt"), with); }),
              HasSubstr("says its scale itself"));
  with.loraAlpha = 1;
  EXPECT_THAT(message([&] { compiler.addFile("g", at("base.pt"), with); }),
              HasSubstr("one of them is wanted"));
}

TEST_F(Packages, AdaptersAsInputs) {
  at::Tensor a1 = at::randn({2, 32}), b1 = at::randn({16, 2}), a2 = at::randn({2, 32}),
             b2 = at::randn({16, 2});
  FunctionOptions with = options;
  with.adapter = adapter("one", a1, b1);
  PackageOptions package;
  package.precision = Precision::fp32;
  package.lora = Lora::inputs;
  Compiler compiler(package);
  compiler.addFile("plain", at("base.pt"), options);
  compiler.addFile("open", at("base.pt"), with);
  Report report = compiler.write(at("m.mlpackage"));
  ASSERT_EQ(report.adapterMap, at("m.adapter.json"));
  Session session = Program(at("m.mlpackage")).session("open");
  EXPECT_EQ(session.function().inputs.size(), 3u);
  auto inputs = packAdapter(adapter("two", a2, b2), report.adapterMap);
  inputs["x"] = toArray(x);
  at::Tensor y = toTensor(session.run(inputs).at("y"));
  EXPECT_TRUE(close(y, expected(b2.matmul(a2)), 2e-2)) << "the arrays are fp16";
  EXPECT_THAT(message([&] { packAdapter(at("two"), report.adapterMap, "none"); }),
              HasSubstr("no function 'none'"));
  with.adapter = "";
  with.lora = Lora::inputs;
  EXPECT_THAT(message([&] { compiler.addFile("g", at("base.pt"), with); }),
              HasSubstr("only an adapter's matrices can be inputs"));
}

TEST_F(Packages, AddingIsCompilingTogether) {
  torch::jit::Module other = base.clone();
  Compiler both = inFp32(), first = inFp32(), second;
  for (Compiler *compiler : {&both, &first})
    compiler->addFile("one", at("base.pt"), options);
  for (Compiler *compiler : {&both, &second})
    add(*compiler, "two", other, options);
  both.write(at("both.mlpackage"));
  first.write(at("m.mlpackage"));
  Report report = second.addTo(at("m.mlpackage"));
  ASSERT_EQ(report.functions.size(), 1u);
  EXPECT_EQ(report.functions[0].ownBytes, 0u);
  EXPECT_GE(report.functions[0].sharedBytes, weight.nbytes()) << "in fp32, as the package is";
  auto bytes = [&](const char *package) {
    auto buffer =
        llvm::MemoryBuffer::getFile(at(package) + "/Data/com.apple.CoreML/weights/weight.bin");
    return (*buffer)->getBuffer().str();
  };
  EXPECT_TRUE(bytes("m.mlpackage") == bytes("both.mlpackage"));
  EXPECT_THAT(message([&] { second.addTo(at("m.mlpackage")); }), HasSubstr("'two'"));
  EXPECT_THAT(message([&] { second.addTo(at("none.mlpackage")); }), HasSubstr("none.mlpackage"));
  EXPECT_EQ(Program(at("m.mlpackage")).functions().size(), 2u);
}

TEST_F(Packages, OlderTargets) {
  PackageOptions package{
      .precision = Precision::fp32, .target = Target::ios16, .multifunction = false};
  Compiler older(package);
  older.addFile("main", at("base.pt"), options);
  older.write(at("m.mlpackage"));
  EXPECT_EQ(llvm::cantFail(readPackage(at("m.mlpackage")))->functions()[0]->opset,
            mil::Opset::iOS16);
  at::Tensor y = expected(at::zeros({16, 32}));
  EXPECT_TRUE(close(result(at("m.mlpackage"), "main", {{"x", x}}), y, 1e-4));
  // Two functions need a newer one, which addTo() and merge() bring it to.
  package.multifunction = true;
  Compiler named(package);
  named.addFile("again", at("base.pt"), options);
  EXPECT_THAT(message([&] { named.write(at("n.mlpackage")); }),
              HasSubstr("a package of named functions needs ios18 or later"));
  merge(at("n.mlpackage"), {{at("m.mlpackage")}});
  EXPECT_EQ(llvm::cantFail(readPackage(at("n.mlpackage")))->functions()[0]->opset,
            mil::Opset::iOS18);
  Report report = named.addTo(at("m.mlpackage"));
  ASSERT_EQ(report.functions.size(), 1u);
  EXPECT_EQ(report.functions[0].ownBytes, 0u);
  for (const char *function : {"main", "again"})
    EXPECT_TRUE(close(result(at("m.mlpackage"), function, {{"x", x}}), y, 1e-4)) << function;
}

TEST_F(Packages, CancelledAdditionsLeaveThePackage) {
  Compiler first, second;
  first.addFile("one", at("base.pt"), options);
  first.write(at("m.mlpackage"));
  torch::jit::Module other = base.clone();
  other.attr("layer").toModule().setattr("weight", at::randn({16, 32}));
  add(second, "two", other, options);
  second.onProgress([&](const Progress &progress) {
    if (progress.done > 0.2)
      second.cancel();
  });
  try {
    second.addTo(at("m.mlpackage"));
    FAIL() << "not cancelled";
  } catch (const Exception &error) {
    EXPECT_EQ(error.reason(), Exception::Reason::Cancelled);
  }
  EXPECT_EQ(Program(at("m.mlpackage")).functions().size(), 1u);
  second.onProgress(nullptr);
  second.addTo(at("m.mlpackage"));
  EXPECT_EQ(Program(at("m.mlpackage")).functions().size(), 2u);
}

TEST_F(Packages, WhatIsNotSharedEnoughIsNotWritten) {
  PackageOptions package;
  package.expectShared = 95;
  Compiler compiler(package);
  compiler.addFile("one", at("base.pt"), options);
  torch::jit::Module other = base.clone();
  other.attr("layer").toModule().setattr("weight", at::randn({16, 32}));
  add(compiler, "two", other, options);
  EXPECT_THAT(message([&] { compiler.write(at("m.mlpackage")); }),
              AllOf(HasSubstr("function 'one'"), HasSubstr("function 'two'")));
  EXPECT_FALSE(llvm::sys::fs::exists(at("m.mlpackage")));
  compiler.options().expectShared = 101;
  EXPECT_THAT(message([&] { compiler.write(at("m.mlpackage")); }), HasSubstr("a percentage"));
  compiler.options().expectShared.reset();
  EXPECT_EQ(compiler.write(at("m.mlpackage")).functions.size(), 2u);
}

TEST_F(Packages, MergingAndRemoving) {
  for (const char *name : {"a", "b"}) {
    Compiler compiler = inFp32();
    compiler.addFile(name, at("base.pt"), options);
    compiler.write(at(std::string(name) + ".mlpackage"));
  }
  MergeOptions merging;
  merging.defaultFunction = "again";
  merging.author = "A. Author";
  Report report = merge(
      at("m.mlpackage"),
      {{at("a.mlpackage")}, {at("b.mlpackage"), "b"}, {at("a.mlpackage"), "", "again"}}, merging);
  ASSERT_EQ(report.functions.size(), 3u);
  for (const Report::Function &function : report.functions)
    EXPECT_EQ(function.ownBytes, 0u) << function.name;
  EXPECT_EQ(Program(at("m.mlpackage")).defaultFunction(), "again");
  EXPECT_TRUE(
      close(result(at("m.mlpackage"), "again", {{"x", x}}), expected(at::zeros({16, 32})), 1e-4));
  EXPECT_THAT(
      message([&] { merge(at("n.mlpackage"), {{at("a.mlpackage")}, {at("a.mlpackage")}}); }),
      HasSubstr("two functions are called 'a'"));
  EXPECT_THAT(message([&] { merge(at("n.mlpackage"), {}); }), HasSubstr("no package to merge"));
  EXPECT_THAT(message([&] { merge(at("n"), {{at("a.mlpackage")}}); }), HasSubstr("ends in"));
  EXPECT_FALSE(llvm::sys::fs::exists(at("n.mlpackage")));

  EXPECT_THAT(message([&] { plait::remove(at("m.mlpackage"), {"again"}); }), HasSubstr("default"));
  plait::remove(at("m.mlpackage"), {"again", "a"}, {.defaultFunction = "b", .compact = true});
  ASSERT_EQ(Program(at("m.mlpackage")).functions().size(), 1u);
  EXPECT_EQ(Program(at("m.mlpackage")).defaultFunction(), "b");
  EXPECT_THAT(message([&] { plait::remove(at("m.mlpackage"), {}); }), HasSubstr("no function"));
  EXPECT_THAT(message([&] { plait::remove(at("m.mlpackage"), {"c"}); }), HasSubstr("'c'"));
}

TEST_F(Packages, ClassesImagesAndDescriptions) {
  std::ofstream labels(at("labels.txt"));
  for (int i = 0; i < 16; ++i)
    labels << "label " << i << '\n';
  labels.close();
  PackageOptions plain{.precision = Precision::fp32, .multifunction = false};
  Compiler classifier(plain);
  FunctionOptions named = options;
  named.describe = {{"x", "a vector"}};
  named.classes = "kind=" + at("labels.txt");
  named.classOutput = "y";
  classifier.addFile("main", at("base.pt"), named);
  classifier.write(at("c.mlpackage"));
  Program program(at("c.mlpackage"));
  ASSERT_EQ(program.functions()[0].outputs.size(), 2u);
  EXPECT_EQ(program.functions()[0].outputs[0].name, "kind");
  EXPECT_TRUE(verify(program, "", at("base.pt")).passed);
  named.classes = "";
  EXPECT_THAT(message([&] { classifier.addFile("other", at("base.pt"), named); }),
              HasSubstr("there are no classes"));

  torch::jit::Module half("Half");
  half.define("def forward(self, x):\n    return x / 2\n");
  half.save(at("half.pt"));
  Compiler image(plain);
  image.addFile(
      "main", at("half.pt"),
      {.input = {"x=image[rgb, 1, 3, 4, 5] scale=2 bias=[1, 2, 3]"}, .output = {"y=image[rgb]"}});
  image.write(at("i.mlpackage"));
  Program pixels(at("i.mlpackage"));
  EXPECT_TRUE(
      verify(pixels, "", at("half.pt"), {.image = {{"x", "scale=2 bias=[1, 2, 3]"}}}).passed);
  EXPECT_FALSE(verify(pixels, "", at("half.pt")).passed);
  EXPECT_THAT(message([&] { verify(pixels, "", at("half.pt"), {.image = {{"x", "scale"}}}); }),
              HasSubstr("'=' is wanted"));
}

TEST_F(Packages, Verifying) {
  at::Tensor a = at::randn({2, 32}), b = at::randn({16, 2});
  FunctionOptions with = options;
  with.adapter = adapter("one", a, b);
  Compiler compiler = inFp32();
  compiler.addFile("plain", at("base.pt"), options);
  compiler.addFile("adapted", at("base.pt"), with);
  compiler.write(at("m.mlpackage"));
  Program program(at("m.mlpackage"));
  Verification good = verify(program, "", at("base.pt"), {.seed = 3, .draws = 2});
  EXPECT_TRUE(good.passed);
  EXPECT_EQ(good.atol, 1e-5);
  ASSERT_EQ(good.outputs.size(), 1u);
  EXPECT_EQ(good.outputs[0].name, "y");
  EXPECT_GT(good.outputs[0].snr, 80);
  EXPECT_TRUE(verify(program, "adapted", at("base.pt"), {.adapter = at("one")}).passed);
  VerifyOptions loose{.input = {{"x", toArray(x)}}, .atol = 1e6, .bisect = true};
  EXPECT_TRUE(verify(program, "adapted", at("base.pt"), loose).passed);
  loose.atol = 1e-5;
  Verification bad = verify(program, "adapted", at("base.pt"), loose);
  EXPECT_FALSE(bad.passed);
  EXPECT_FALSE(bad.outputs[0].passed);
  EXPECT_NEAR(bad.outputs[0].maxAbsolute,
              (expected(b.matmul(a)) - expected(at::zeros({16, 32}))).abs().max().item<double>(),
              1e-3);
  ASSERT_FALSE(bad.bisect.empty());
  EXPECT_THAT(bad.bisect[0], HasSubstr("leaves the model at"));
  EXPECT_THAT(message([&] { verify(program, "", at("none.pt")); }), HasSubstr("none.pt"));
  EXPECT_THAT(message([&] { verify(program, "f", at("base.pt")); }), HasSubstr("'f'"));
  EXPECT_THAT(message([&] { verify(program, "", at("base.pt"), {.draws = 0}); }),
              HasSubstr("at least 1"));
}

TEST_F(Packages, Recipes) {
  std::ofstream(at("recipe.yaml")) << "output: ignored.mlpackage\nprecision: fp32\nbase: base.pt\n"
                                      "default: adapted\ninputs: ['x=[1, 32]']\noutputs: [y]\n"
                                      "metadata: {author: A. Author, user: {key: value}}\n"
                                      "functions:\n  plain: {bare_base: on}\n"
                                      "  adapted: {adapter: one, lora: inputs}\n";
  adapter("one", at::randn({2, 32}), at::randn({16, 2}));
  Compiler compiler = Compiler::fromRecipe(at("recipe.yaml"));
  EXPECT_EQ(compiler.options().author, "A. Author");
  EXPECT_EQ(compiler.options().meta.at("key"), "value");
  add(compiler, "memory", base, options);
  Report report = compiler.write(at("m.mlpackage"));
  EXPECT_EQ(report.functions.size(), 3u);
  EXPECT_EQ(report.adapterMap, at("m.adapter.json"));
  Program program(at("m.mlpackage"));
  EXPECT_EQ(program.defaultFunction(), "adapted");
  EXPECT_TRUE(
      close(result(at("m.mlpackage"), "plain", {{"x", x}}), expected(at::zeros({16, 32})), 1e-4));
  std::ofstream(at("bad.yaml")) << "functions: [\n";
  EXPECT_THAT(message([&] { Compiler::fromRecipe(at("bad.yaml")); }), HasSubstr("bad.yaml"));
}

TEST_F(Packages, TheLogHasStepsAndWarnings) {
  Compiler compiler;
  weight[0][0] = 1e6; // beyond fp16
  add(compiler, "f", base, options);
  std::vector<std::string> steps, warnings;
  compiler.onLog([&](Severity severity, std::string_view text) {
    (severity == Severity::info ? steps : warnings).emplace_back(text);
  });
  Report report = compiler.write(at("m.mlpackage"));
  EXPECT_THAT(steps, ElementsAre("lowering f (1 of 1)", "optimising", HasSubstr("writing ")));
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("beyond the range of fp16")));
  EXPECT_EQ(report.warnings, warnings);
  compiler.onLog([](Severity, std::string_view) { throw std::logic_error("the caller's own"); });
  EXPECT_THROW(compiler.write(at("m.mlpackage")), std::logic_error);
}

TEST_F(Packages, ValuesInsideAndProfile) {
  Compiler compiler = inFp32();
  compiler.addFile("f", at("base.pt"), options);
  compiler.write(at("m.mlpackage"));
  Session session = Program(at("m.mlpackage")).session("f", {.trace = {"all"}, .profile = true});
  run(session, {{"x", x}});
  run(session, {{"x", x}});
  bool found = false;
  for (const auto &[name, array] : session.traced())
    found |= close(toTensor(array), at::linear(x, weight, bias), 1e-4);
  EXPECT_TRUE(found) << "the value before relu";
  for (const ProfileRow &row : session.profile())
    EXPECT_EQ(row.calls, row.operation == "linear" || row.operation == "relu" ? 2u : row.calls);
  EXPECT_EQ(session.profile().size() > 1, true);
  EXPECT_THAT(message([&] { Program(at("m.mlpackage")).session("f", {.trace = {"none"}}); }),
              HasSubstr("none"));
}

} // namespace
