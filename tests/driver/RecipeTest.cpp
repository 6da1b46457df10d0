// The schema of recipes, and complaints with line and column.
#include "driver/Recipe.h"
#include "driver/InputSyntax.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace plait;
using namespace plait::driver;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::StartsWith;

namespace {

CompileOptions read(llvm::StringRef text) {
  auto options = parseRecipe(text, "folder/r.yaml");
  if (!options) {
    ADD_FAILURE() << toString(options.takeError());
    return {};
  }
  return *options;
}
std::string complaint(llvm::StringRef text) {
  auto options = parseRecipe(text, "r.yaml");
  if (!options)
    return toString(options.takeError());
  ADD_FAILURE() << "no complaint of:\n" << text.str();
  return "";
}

TEST(Recipe, Everything) {
  CompileOptions options = read(R"(# two adapters
output: out.mlpackage
default: adapter_2
precision: fp32
target: ios26
lora: fold
share: off
join_linears: off
debug_info: on
expect_shared: 80.5%
compress: [q4, 'lm_head=int4[block 16]']
require_coverage: 99%
threads: 2
metadata:
  author: A. Author
  license: "MIT: yes"
  version: 1.2
  description: |
    two lines
    of text
  user:
    com.example.key: value
    other: '3'
functions:
  adapter_1:
    model: a1.pt
    inputs: ['x=[1, 6000]', 'm=int32[2]']
    outputs: [y, z]
    lora: keep
  adapter_2: /models/a2.pt
)");
  EXPECT_EQ(options.output, "folder/out.mlpackage");
  EXPECT_EQ(options.defaultFunction, "adapter_2");
  EXPECT_EQ(options.precision, passes::Precision::F32);
  EXPECT_EQ(options.target, mil::Opset::iOS26);
  EXPECT_EQ(options.lora, mil::LoraMode::Fold);
  EXPECT_FALSE(options.share);
  EXPECT_FALSE(options.joinLinears);
  EXPECT_TRUE(options.debugInfo);
  EXPECT_EQ(options.expectShared, 80.5);
  ASSERT_EQ(options.compress.size(), 2u);
  EXPECT_EQ(options.compress[1].pattern, "lm_head");
  EXPECT_EQ(options.compress[1].scheme.str(), "int4[block 16]");
  EXPECT_EQ(options.requireCoverage, 99);
  EXPECT_EQ(options.threads, 2u);
  EXPECT_TRUE(options.multifunction);
  EXPECT_EQ(options.metadata.author, "A. Author");
  EXPECT_EQ(options.metadata.license, "MIT: yes");
  EXPECT_EQ(options.metadata.version, "1.2");
  EXPECT_EQ(options.metadata.description, "two lines\nof text");
  EXPECT_THAT(options.metadata.userDefined,
              ElementsAre(Pair("com.example.key", "value"), Pair("other", "3")));
  ASSERT_EQ(options.functions.size(), 2u);
  const FunctionOptions &first = options.functions[0];
  EXPECT_EQ(first.name, "adapter_1");
  EXPECT_EQ(first.model, "folder/a1.pt");
  ASSERT_EQ(first.inputs.size(), 2u);
  EXPECT_EQ(inputText(first.inputs[0]), "x=[1, 6000]");
  EXPECT_EQ(inputText(first.inputs[1]), "m=int32[2]");
  EXPECT_THAT(first.outputs, ElementsAre("y", "z"));
  EXPECT_EQ(first.lora, mil::LoraMode::Keep);
  EXPECT_EQ(options.functions[1].name, "adapter_2");
  EXPECT_EQ(options.functions[1].model, "/models/a2.pt");
  EXPECT_FALSE(options.functions[1].lora);
}

TEST(Recipe, SchemesHaveAPlace) {
  EXPECT_THAT(complaint("model: m.pt\ncompress: [q4, head=palette5]\n"),
              AllOf(StartsWith("r.yaml:2:16: compress: scheme 'palette5': "),
                    HasSubstr("1, 2, 3, 4, 6 or 8 bits")));
  EXPECT_THAT(complaint("model: m.pt\nrequire_coverage: much\n"),
              StartsWith("r.yaml:2:19: require_coverage: 'much' is no percentage"));
}

TEST(Recipe, InputsOfAllFunctions) {
  CompileOptions options = read("inputs: x=[1, 4]\noutputs: y\nfunctions:\n"
                                "  a: a.pt\n  b:\n    model: b.pt\n    inputs:\n      - z=[2]\n");
  ASSERT_EQ(options.functions.size(), 2u);
  EXPECT_EQ(inputText(options.functions[0].inputs.at(0)), "x=[1, 4]");
  EXPECT_EQ(inputText(options.functions[1].inputs.at(0)), "z=[2]");
  EXPECT_THAT(options.functions[0].outputs, ElementsAre("y"));
  EXPECT_THAT(options.functions[1].outputs, ElementsAre("y"));
}

TEST(Recipe, LoraOfThePackageAndOfAFunction) {
  CompileOptions options = read("base: m.pt\nlora: fold\nfunctions:\n"
                                "  a: {adapter: one}\n"
                                "  b: {adapter: two, lora: inputs}\n"
                                "  base: {bare_base: on}\n");
  ASSERT_EQ(options.functions.size(), 3u);
  EXPECT_EQ(options.loraOf(options.functions[0]), mil::LoraMode::Fold);
  EXPECT_EQ(options.loraOf(options.functions[1]), mil::LoraMode::Inputs);
  EXPECT_EQ(options.loraOf(options.functions[2]), mil::LoraMode::Fold);
}

TEST(Recipe, SeveralBases) {
  CompileOptions options = read("base:\n"
                                "  prefill: {model: p.pt, inputs: 'x=[8]', states: none}\n"
                                "  decode: d.pt\n"
                                "inputs: x=[1]\nstates: [auto, 'n=input']\nstate_init: input\n"
                                "functions:\n"
                                "  plain: {bare_base: on}\n"
                                "  chat: {adapter: one, outputs: y}\n"
                                "  other: {model: o.pt, states: ['k=fp16[2, 3]']}\n");
  ASSERT_EQ(options.functions.size(), 5u);
  const char *names[] = {"plain_prefill", "plain_decode", "chat_prefill", "chat_decode", "other"};
  const char *models[] = {"folder/p.pt", "folder/d.pt", "folder/p.pt", "folder/d.pt",
                          "folder/o.pt"};
  using Others = frontend::StatesRequest::Others;
  for (unsigned i = 0; i < 5; ++i) {
    const FunctionOptions &function = options.functions[i];
    EXPECT_EQ(function.name, names[i]);
    EXPECT_EQ(function.model, models[i]);
    EXPECT_EQ(inputText(function.inputs[0]), i % 2 || i == 4 ? "x=[1]" : "x=[8]");
    EXPECT_EQ(function.states.others, i == 4  ? Others::Refuse
                                      : i % 2 ? Others::Keep
                                              : Others::Forget);
    EXPECT_TRUE(function.states.inputs);
  }
  EXPECT_EQ(options.functions[2].adapters.specs[0].path, "folder/one");
  EXPECT_THAT(options.functions[3].outputs, ElementsAre("y"));
  EXPECT_EQ(options.functions[1].states.named[0].attribute, "n");
  EXPECT_EQ(options.functions[4].states.named[0].shape->size(), 2u);
  EXPECT_THAT(complaint("base: {a b: m.pt}\nfunctions:\n  x: {bare_base: on}\n"),
              HasSubstr("'a b' cannot be part of a function's name"));
  EXPECT_THAT(complaint("base: {a: {inputs: 'x=[1]'}}\nfunctions:\n  x: {bare_base: on}\n"),
              HasSubstr("the base 'a' has no `model:`"));
  EXPECT_THAT(complaint("model: m.pt\nstates: [auto, none]\n"), HasSubstr("beside another"));
}

TEST(Recipe, LoraInputsOfAllIsNoMatterToTheBase) {
  CompileOptions options = read("base: m.pt\nlora: inputs\nfunctions:\n"
                                "  a: {adapter: one}\n  base: {bare_base: on}\n");
  EXPECT_EQ(options.loraOf(options.functions.at(0)), mil::LoraMode::Inputs);
  EXPECT_TRUE(options.functions.at(1).adapters.specs.empty());
}

TEST(Recipe, OneModel) {
  CompileOptions options = read("model: m.pt\ninputs: x=[1, 4]\n");
  EXPECT_FALSE(options.multifunction);
  ASSERT_EQ(options.functions.size(), 1u);
  EXPECT_EQ(options.functions[0].name, "main");
  EXPECT_EQ(options.functions[0].model, "folder/m.pt");
  EXPECT_EQ(options.functions[0].inputs.size(), 1u);
  EXPECT_TRUE(options.share);
  EXPECT_FALSE(options.expectShared);
}

TEST(Recipe, ComplaintsHaveAPlace) {
  EXPECT_EQ(
      complaint("model: m.pt\nprecison: fp16\n"),
      "r.yaml:2:1: unknown key 'precison' (did you mean 'precision'?); a recipe has output, "
      "functions, model, inputs, outputs, describe, classes, states, state_init, default, "
      "precision, keep_fp32, min_snr, target, lora, base, "
      "adapter_root, allow_unmatched, lora_alpha, lora_scale, share, join_linears, debug_info, "
      "compress, require_coverage, size_budget, measure_on, calibrate, gptq, expect_shared, "
      "allow, threads, metadata");
  EXPECT_EQ(complaint("model: m.pt\nprecision: fp12\n"),
            "r.yaml:2:12: precision: 'fp12' is none of fp16, fp32, auto");
  EXPECT_EQ(complaint("model: m.pt\nmin_snr: 30\n"),
            "r.yaml:2:10: min_snr is of `precision: auto`; without that it chooses how weights are "
            "compressed, and needs inputs that the functions are run on: measure_on");
  EXPECT_EQ(complaint("model: m.pt\nsize_budget: many\n"),
            "r.yaml:2:14: size_budget: 'many' is no number of bytes, such as 900MB or 1.5GiB");
  EXPECT_THAT(complaint("model: m.pt\ncompress: q4\ngptq: on\n"),
              HasSubstr("gptq needs inputs that the model is given"));
  EXPECT_THAT(complaint("model: m.pt\nsize_budget: 9MB\nmeasure_on: in\ncompress: q4\n"),
              HasSubstr("and size_budget chooses one for each"));
  EXPECT_EQ(complaint("model: m.pt\ntarget: ios15\n"),
            "r.yaml:2:9: target: 'ios15' is none of ios16, ios17, ios18, ios26");
  EXPECT_THAT(
      complaint("functions:\n  a:\n    modell: a.pt\n"),
      StartsWith("r.yaml:3:5: unknown key 'modell' (did you mean 'model'?); a function has "));
  EXPECT_EQ(complaint("functions:\n  a:\n    outputs: y\n"),
            "r.yaml:2:3: the function 'a' has no `model:`");
  EXPECT_EQ(complaint("functions:\n  a: a.pt\n  a: b.pt\n"), "r.yaml:3:3: the key 'a' comes twice");
  EXPECT_THAT(complaint("functions: [a, b]\n"), StartsWith("r.yaml:1:13: functions is a mapping"));
  EXPECT_THAT(complaint("model: m.pt\ninputs:\n  - 'x=[1,,2]'\n"),
              StartsWith("r.yaml:3:5: input 'x=[1,,2]': a size is wanted at ',2]'"));
  EXPECT_THAT(complaint("model: m.pt\ninputs:\n  - [1, 2]\n"),
              StartsWith("r.yaml:3:6: an input is text; write it in 'quotes'"));
  EXPECT_EQ(complaint("functions:\n  a: a.pt\ndefault: b\n"),
            "r.yaml:3:10: the default function 'b' is none of the functions");
  EXPECT_EQ(complaint("default: other\nmodel: m.pt\n"),
            "r.yaml:1:10: the default function 'other' is none of the functions");
  EXPECT_EQ(
      complaint("functions:\n  int8: a.pt\n"),
      "r.yaml:2:3: 'int8' cannot name a function: it is a word of MIL's grammar (try 'int8_')");
  EXPECT_THAT(complaint("model: m.pt\noutputs: [y, 'a-b']\n"),
              StartsWith("r.yaml:2:14: the output name 'a-b' cannot be one in Core ML: "));
  EXPECT_THAT(complaint("model: m.pt\nthreads: many\n"), StartsWith("r.yaml:2:10: threads: "));
  for (const char *share : {"101%", "-1", "most", "nan", ""})
    EXPECT_THAT(complaint((llvm::Twine("model: m.pt\nexpect_shared: '") + share + "'\n").str()),
                StartsWith("r.yaml:2:16: expect_shared: '" + std::string(share) + "'"));
  EXPECT_THAT(complaint("model: m.pt\nshare: maybe\n"),
              HasSubstr("'maybe' is none of off, on, false, true"));
  EXPECT_THAT(complaint("model: m.pt\nmetadata:\n  autor: x\n"),
              StartsWith("r.yaml:3:3: unknown key 'autor' (did you mean 'author'?)"));
}

TEST(Recipe, WholeRecipeIsWrong) {
  EXPECT_THAT(complaint(""), HasSubstr("the recipe is empty"));
  EXPECT_THAT(complaint("just text"), HasSubstr("a recipe is a mapping"));
  EXPECT_THAT(complaint("- a\n- b\n"), HasSubstr("a recipe is a mapping"));
  EXPECT_THAT(complaint("precision: fp16\n"), HasSubstr("either `model:`"));
  EXPECT_THAT(complaint("model: a.pt\nfunctions:\n  a: a.pt\n"), HasSubstr("either `model:`"));
  EXPECT_THAT(complaint("model: a.pt\n---\nmodel: b.pt\n"),
              AllOf(StartsWith("r.yaml:3:1: "), HasSubstr("one YAML document")));
  EXPECT_THAT(complaint("%\n"), StartsWith("r.yaml:1:1: the recipe is empty"));
  EXPECT_THAT(complaint("model: [a.pt\noutput: x\n"), StartsWith("r.yaml:"));
  EXPECT_THAT(complaint("model: \"a.pt\n"), StartsWith("r.yaml:"));
}

TEST(Recipe, MissingFile) {
  auto options = readRecipe("no/such/recipe.yaml");
  ASSERT_FALSE(bool(options));
  EXPECT_EQ(toString(options.takeError()), "no/such/recipe.yaml: No such file or directory");
}

} // namespace
