// Branches in a function that no frontend made: an adapter needs a module tree, borders, and
// constants that know their parameter.
#include "adapters/Apply.h"
#include "adapters/MergedParameters.h"
#include "adapters/Tensors.h"
#include "adapters/VeraProjections.h"
#include "mil/Clone.h"
#include "mil/Verifier.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <fstream>
#include <gtest/gtest.h>

using namespace plait;
using namespace plait::adapters;
using mil::DType;
using mil::LoraMode;
using mil::OpKind;

namespace {

/// A model with two linear layers of one weight, `a` and `b`, of which `a` has a bias.
class Apply : public testing::Test {
protected:
  Apply() {
    weight = TensorData::from<float>(DType::F32, {3, 2}, {1, 2, 3, 4, 5, 6})
                 .withOrigin(mil::Origin::parameter({"a.weight", "b.weight"}));
    bias = TensorData::from<float>(DType::F32, {3}, {7, 8, 9})
               .withOrigin(mil::Origin::parameter({"a.bias"}));
    mil::ModuleInfo root, a, b;
    root.type = "Model";
    a.type = b.type = "Linear";
    root.callable = a.callable = b.callable = true;
    a.layer.kind = b.layer.kind = mil::Layer::Linear;
    a.tensors = {{"weight", weight}, {"bias", bias}};
    b.tensors = {{"weight", weight}};
    tree->addPath("", tree->addModule(root));
    tree->addPath("a", tree->addModule(a));
    tree->addPath("b", tree->addModule(b));

    llvm::SmallString<128> made;
    llvm::sys::fs::createUniqueDirectory("plait-apply", made);
    folder = made.str().str();
  }
  ~Apply() override { llvm::sys::fs::remove_directories(folder); }

  void lower(const AdapterPlan &plan, LoraMode mode) {
    mil::Function &base = *program.addFunction("base");
    Value *x = base.addInput(mil::Type::tensor(DType::F32, {1, 2}), "x");
    mil::Builder builder(base.body());
    auto layer = [&](const char *path, Value *bias) {
      builder.setLocation(mil::Location(path, "model.py:1", "aten::linear"));
      unsigned module = *tree->find(path);
      bool marked = llvm::any_of(borderedModules(plan, mode),
                                 [&](const auto &known) { return known.module == module; });
      mil::Op *in = builder.create(OpKind::identity, {{mil::identity::x, x}});
      Value *y = builder.emit(OpKind::linear, {{mil::linear::x, x},
                                               {mil::linear::weight, builder.constant(weight)},
                                               {mil::linear::bias, bias}});
      mil::Op *out = builder.create(OpKind::identity, {{mil::identity::x, y}});
      if (marked) {
        mil::markBorder(*in, true, module, module);
        mil::markBorder(*out, false, module, module);
      }
      return out->result();
    };
    Value *a = layer("a", builder.constant(bias)), *b = layer("b", nullptr);
    base.body().setOutputs({a, b});
  }

  void write(const std::string &name, const std::string &text) {
    std::ofstream(folder + "/" + name, std::ios::binary) << text;
  }
  /// A PEFT folder with fp32 tensors.
  void writeAdapter(
      const std::string &config,
      const std::vector<std::tuple<std::string, std::string, std::vector<float>>> &tensors) {
    write("adapter_config.json", config);
    std::string header = "{", data;
    for (const auto &[key, shape, values] : tensors) {
      header += (data.empty() ? "" : ",") + ("\"" + key + "\":{\"dtype\":\"F32\",\"shape\":") +
                shape + ",\"data_offsets\":[" + std::to_string(data.size()) + ",";
      data.append(reinterpret_cast<const char *>(values.data()), 4 * values.size());
      header += std::to_string(data.size()) + "]}";
    }
    header += "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    uint64_t length = header.size();
    write("adapter_model.safetensors",
          std::string(reinterpret_cast<const char *>(&length), 8) + header + data);
  }

  AdapterPlan plan() {
    auto none = [](llvm::StringRef) -> Expected<NamedTensors> { return NamedTensors(); };
    auto file = AdapterFile::open(folder, none);
    EXPECT_TRUE(bool(file)) << toString(file.takeError());
    auto made = AdapterPlan::make(tree, {{*file, 1}}, std::nullopt, false, warnings);
    EXPECT_TRUE(bool(made)) << toString(made.takeError());
    return std::move(*made);
  }

  Application apply(LoraMode mode) {
    AdapterPlan made = plan();
    lower(made, mode);
    function = mil::cloneFunction(program, *program.function("base"), "adapted");
    auto applied = adapters::apply(*function, made, mode, {});
    EXPECT_TRUE(bool(applied)) << toString(applied.takeError());
    EXPECT_FALSE(bool(mil::verify(*function)));
    return std::move(*applied);
  }

  const char *const kLora =
      R"({"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["a"]})";
  void writeLora() {
    writeAdapter(kLora, {{"base_model.model.a.lora_A.weight", "[1,2]", {1, 1}},
                         {"base_model.model.a.lora_B.weight", "[3,1]", {1, 2, 3}}});
  }

  std::shared_ptr<mil::ModuleTree> tree = std::make_shared<mil::ModuleTree>();
  TensorData weight, bias;
  mil::Program program;
  mil::Function *function = nullptr;
  std::string folder;
  std::vector<Warning> warnings;
};

TEST_F(Apply, KeepsABranchBesideTheWeight) {
  writeLora();
  Application applied = apply(LoraMode::Keep);
  EXPECT_TRUE(applied.missing.empty());
  EXPECT_EQ(applied.unused, "");
  const mil::Op *sum = function->outputs()[0]->def();
  ASSERT_TRUE(sum->is(OpKind::add));
  const mil::Op *base = (*sum)[mil::add::x]->def();
  EXPECT_TRUE(base->is(OpKind::linear));
  EXPECT_TRUE(mil::constTensor((*base)[mil::linear::weight])->sameTree(weight));
  EXPECT_TRUE((*sum)[mil::add::y]->def()->is(OpKind::mul)); // by alpha / rank
  // The other layer with the weight has no branch, and the base is as it was.
  EXPECT_TRUE((*function->outputs()[1]->def()).is(OpKind::linear) ||
              (*function->outputs()[1]->def()).is(OpKind::identity));
  EXPECT_EQ(mil::moduleCalls(*program.function("base")).size(), 1u);
}

TEST_F(Apply, FoldsIntoOneOfTwoLayersOfAWeight) {
  writeLora();
  apply(LoraMode::Fold);
  std::vector<std::vector<float>> weights;
  mil::walk(function->body(), [&](mil::Op &op) {
    if (op.is(OpKind::linear))
      weights.push_back(floatsOf(*mil::constTensor(op[mil::linear::weight])));
  });
  ASSERT_EQ(weights.size(), 2u);
  EXPECT_EQ(weights[0], (std::vector<float>{3, 4, 7, 8, 11, 12})); // W + 2 B A
  EXPECT_EQ(weights[1], floatsOf(weight));
}

TEST_F(Apply, TakesMatricesAsInputs) {
  writeLora();
  Application applied = apply(LoraMode::Inputs);
  ASSERT_EQ(applied.inputs.size(), 2u);
  EXPECT_EQ(applied.inputs[0].name, "a_lora_A");
  EXPECT_EQ(applied.inputs[0].kind, "LoRA");
  EXPECT_EQ(applied.inputs[1].key, "base_model.model.a.lora_B.weight");
  EXPECT_EQ(function->inputs().size(), 3u);
}

TEST_F(Apply, ReplacesAParameter) {
  writeAdapter(kLora, {{"base_model.model.a.bias", "[3]", {1, 0, 1}}});
  apply(LoraMode::Keep);
  mil::walk(function->body(), [&](mil::Op &op) {
    if (op.is(OpKind::linear) && op.location.module() == "a") {
      EXPECT_EQ(floatsOf(*mil::constTensor(op[mil::linear::bias])), (std::vector<float>{1, 0, 1}));
    }
  });
}

TEST_F(Apply, AsksForWhatTheFrontendComputedWith) {
  writeAdapter(kLora, {{"base_model.model.a.bias", "[3]", {1, 0, 1}}});
  // As if the frontend had computed the layer's bias itself.
  bias = bias.withOrigin(bias.node().origin.asComputed());
  AdapterPlan made = plan();
  lower(made, LoraMode::Keep);
  auto applied = adapters::apply(*program.function("base"), made, LoraMode::Keep, {});
  ASSERT_TRUE(bool(applied)) << toString(applied.takeError());
  ASSERT_EQ(applied->missing.size(), 1u);
  EXPECT_EQ(applied->missing[0].name, "bias");
  EXPECT_EQ(floatsOf(applied->missing[0].value), (std::vector<float>{1, 0, 1}));
}

TEST_F(Apply, SaysWhatIsNeverUsed) {
  writeLora();
  AdapterPlan made = plan();
  mil::Function &empty = *program.addFunction("base");
  Value *x = empty.addInput(mil::Type::tensor(DType::F32, {1, 2}), "x");
  mil::Builder builder(empty.body());
  empty.body().setOutputs({builder.emit(OpKind::identity, {{mil::identity::x, x}})});
  auto applied = adapters::apply(empty, made, LoraMode::Keep, {});
  ASSERT_TRUE(bool(applied)) << toString(applied.takeError());
  EXPECT_TRUE(llvm::StringRef(applied->unused).contains("'a', which the base never uses"))
      << applied->unused;
}

TEST_F(Apply, RefusesToMergeATiedWeightForTheReference) {
  writeLora();
  auto merged = mergedParameters(plan());
  ASSERT_FALSE(bool(merged));
  EXPECT_TRUE(llvm::StringRef(toString(merged.takeError())).contains("another module's too"));
}

TEST(VeraProjections, AreThoseOfLibTorchsGenerator) {
  AdapterConfig config;
  config.projectionSeed = 7;
  config.rank = 2;
  auto factors = drawProjections(config, 6, 4);
  std::vector<float> a = floatsOf(factors.at("vera_A").tensor);
  const float expected[] = {0.0698450804, -0.602393627, 0.31842339,   0.313780546,
                            -0.534476876, -0.149877191, -0.585827947, 0.259472728};
  for (size_t i = 0; i < 8; ++i)
    EXPECT_NEAR(a[i], expected[i], 1e-7) << i;
}

} // namespace
