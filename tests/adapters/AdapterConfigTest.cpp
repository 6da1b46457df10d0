// Which modules a configuration chooses, with which rank and alpha; what it is refused for. And the
// names of tensors.
#include "adapters/AdapterConfig.h"
#include "adapters/AdapterKeys.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <map>

using namespace plait;
using namespace plait::adapters;
using testing::HasSubstr;

namespace {

AdapterConfig parse(llvm::StringRef fields, llvm::StringRef type = "LORA") {
  auto config = AdapterConfig::parse(("{\"peft_type\": \"" + type + "\", " + fields + "}").str());
  EXPECT_TRUE(bool(config)) << toString(config.takeError());
  return config ? *config : AdapterConfig();
}
std::string problem(llvm::StringRef text) {
  auto config = AdapterConfig::parse(text);
  return config ? "" : toString(config.takeError());
}
bool adapts(const AdapterConfig &config, llvm::StringRef path) {
  return llvm::cantFail(config.adapts(path));
}

TEST(AdapterConfig, NamesAreLastComponents) {
  AdapterConfig config =
      parse(R"("target_modules": ["q_proj", "mlp.up"], "exclude_modules": ["l.0.q_proj"])");
  EXPECT_TRUE(adapts(config, "l.1.q_proj"));
  EXPECT_TRUE(adapts(config, "q_proj"));
  EXPECT_FALSE(adapts(config, "l.0.q_proj"));
  EXPECT_FALSE(adapts(config, "l.1.my_q_proj"));
  EXPECT_TRUE(adapts(config, "l.1.mlp.up"));
  EXPECT_FALSE(adapts(config, "l.1.up"));
}

TEST(AdapterConfig, Layers) {
  AdapterConfig config = parse(R"("target_modules": ["q"], "layers_to_transform": [1, 3])");
  EXPECT_TRUE(adapts(config, "m.layers.1.q"));
  EXPECT_FALSE(adapts(config, "m.layers.2.q"));
  EXPECT_TRUE(adapts(config, "m.layers.3.experts.0.q"));
  EXPECT_FALSE(adapts(config, "m.head.q"));
  config = parse(R"("target_modules": ["q"], "layers_to_transform": 2, "layers_pattern": "h")");
  EXPECT_TRUE(adapts(config, "m.h.2.q"));
  EXPECT_FALSE(adapts(config, "m.g.2.q"));
}

TEST(AdapterConfig, SavedModulesAreNotAdapted) {
  AdapterConfig config =
      parse(R"("target_modules": "all-linear", "modules_to_save": ["classifier"])");
  EXPECT_TRUE(adapts(config, "m.q"));
  EXPECT_FALSE(adapts(config, "m.classifier"));
  EXPECT_FALSE(adapts(config, "classifier.dense"));
}

TEST(AdapterConfig, TheFirstPatternOfTheFileCounts) {
  AdapterConfig config = parse(R"("r": 8, "lora_alpha": 4, "use_rslora": true,
      "rank_pattern": {"q": 2}, "alpha_pattern": {"z.q": 1, "q": 16, "l\\.\\d\\.q": 32, "^k": 64})");
  EXPECT_TRUE(config.rankScaled);
  EXPECT_EQ(llvm::cantFail(config.alphaOf("l.0.q")), 16);
  EXPECT_EQ(llvm::cantFail(config.alphaOf("z.q")), 1);
  EXPECT_EQ(llvm::cantFail(config.alphaOf("k")), 64);
  EXPECT_EQ(llvm::cantFail(config.alphaOf("l.k")), 4);
  EXPECT_EQ(llvm::cantFail(config.rankOf("l.0.q")), 2);
  EXPECT_EQ(llvm::cantFail(config.rankOf("l.0.v")), 8);
}

TEST(AdapterConfig, FeedforwardModulesAreEndsOfPaths) {
  AdapterConfig config = parse(R"("feedforward_modules": ["fc"])", "IA3");
  EXPECT_TRUE(llvm::cantFail(config.feedforward.endsIn("l.0.fc")));
  EXPECT_TRUE(llvm::cantFail(config.feedforward.endsIn("l.0.my_fc")));
  EXPECT_FALSE(llvm::cantFail(config.feedforward.endsIn("l.0.fc1")));
  config = parse(R"("feedforward_modules": ".*[.]fc")", "IA3");
  EXPECT_TRUE(llvm::cantFail(config.feedforward.endsIn("l.0.fc")));
  EXPECT_FALSE(llvm::cantFail(config.feedforward.endsIn("l.0.my_fc")));
}

TEST(AdapterConfig, VeraWithoutProjectionsHasTheirSeed) {
  EXPECT_EQ(parse(R"("projection_prng_key": 7, "save_projection": true)", "VERA").projectionSeed,
            std::nullopt);
  EXPECT_EQ(parse(R"("projection_prng_key": 7, "save_projection": false)", "VERA").projectionSeed,
            7u);
  EXPECT_THAT(
      problem(R"({"peft_type": "VERA", "projection_prng_key": -1, "save_projection": false})"),
      HasSubstr("projection_prng_key"));
}

TEST(AdapterConfig, Types) {
  for (llvm::StringRef fields :
       {R"("r": 2.5)", R"("r": -1)", R"("r": true)", R"("lora_alpha": 1e400)",
        R"("lora_alpha": "x")", R"("rank_pattern": {"q": 0})", R"("rank_pattern": {"q": 1e300})",
        R"("rank_pattern": {"q": 2.5})", R"("alpha_pattern": {"q": 1e400})",
        R"("alpha_pattern": {"q": null})", R"("use_dora": "false")", R"("use_rslora": 1)",
        R"("ensure_weight_tying": {})", R"("layers_to_transform": [0.5])",
        R"("modules_to_save": {})"}) {
    llvm::StringRef member = fields.split("\": ").first.drop_front();
    EXPECT_THAT(problem(("{\"peft_type\": \"LORA\", " + fields + "}").str()),
                HasSubstr(("'" + member + "'").str()))
        << fields.str();
  }
  EXPECT_THAT(problem(R"({"peft_type": ["LORA"]})"), HasSubstr("peft_type"));
  EXPECT_EQ(problem(R"({"peft_type": "LORA", "use_dora": null, "init_lora_weights": "Gaussian"})"),
            "");
}

TEST(AdapterConfig, Refused) {
  EXPECT_THAT(problem(R"({"r": 4})"), HasSubstr("peft_type"));
  EXPECT_THAT(problem(R"({"peft_type": "BOFT"})"), HasSubstr("BOFT"));
  EXPECT_THAT(problem(R"({"peft_type": "LORA", "r": 0})"), HasSubstr("no rank"));
  EXPECT_THAT(problem(R"({"peft_type": "LORA", "r": 1e300})"), HasSubstr("no rank"));
  EXPECT_THAT(problem(R"({"peft_type": "LORA", "target_modules": 3})"),
              HasSubstr("target_modules"));
  EXPECT_THAT(problem(R"({"peft_type": "LORA", "target_modules": "("})"), HasSubstr("expression"));
  EXPECT_THAT(problem(R"({"peft_type": "LORA", "init_lora_weights": "olora"})"),
              HasSubstr("olora"));
  EXPECT_THAT(problem(R"({"peft_type": "LORA", "enable_lora": [true]})"), HasSubstr("enable_lora"));
  EXPECT_THAT(problem("[1]"), HasSubstr("no JSON object"));
  EXPECT_THAT(problem(std::string(1000000, '[')), HasSubstr("levels deep"));
}

TEST(AdapterConfig, UnknownOptionsAreRefusedUnlessTheyAreOff) {
  EXPECT_THAT(problem(R"({"peft_type": "LORA", "use_new": true})"),
              HasSubstr("does not know the option 'use_new'"));
  EXPECT_THAT(problem(R"({"peft_type": "LORA", "b": 1, "a": "x", "c": null})"),
              HasSubstr("the options 'a', 'b'"));
  EXPECT_EQ(problem(R"({"peft_type": "LORA", "a": false, "b": 0, "c": [], "d": {}, "e": "none",
                        "revision": "main", "eva_config": {"rho": 2}})"),
            "");
}

TEST(AdapterConfig, AdaLoraHasTheRankThatItBeganWith) {
  AdapterConfig config =
      parse(R"("init_r": 6, "r": 8, "lora_alpha": 20, "rank_pattern": {"q.lora_E": [true, false]})",
            "ADALORA");
  EXPECT_TRUE(config.adaptive);
  EXPECT_EQ(config.rank, 6);
  EXPECT_EQ(config.alpha, 20);
}

TEST(AdapterConfig, OfDiffusers) {
  auto configs = AdapterConfig::parseDiffusers(
      R"({"text_encoder.r": 2, "text_encoder.rank_pattern": {"b.q": 3, "q": 2}, "unet.r": 4,
          "unet.lora_alpha": 2, "unet.rank_pattern": {"q": 2, "b.q": 3},
          "unet.target_modules": ["to_q"]})");
  ASSERT_TRUE(bool(configs)) << toString(configs.takeError());
  ASSERT_EQ(configs->size(), 2);
  const AdapterConfig &config = configs->at("unet"), &text = configs->at("text_encoder");
  EXPECT_EQ(config.alpha, 2);
  EXPECT_EQ(llvm::cantFail(config.rankOf("b.q")), 2);
  EXPECT_EQ(llvm::cantFail(text.rankOf("b.q")), 3);
  EXPECT_TRUE(adapts(config, "a.to_q"));
  EXPECT_EQ(text.rank, 2);
  auto refusal = [&](llvm::StringRef text) {
    auto configs = AdapterConfig::parseDiffusers(text);
    return configs ? "" : toString(configs.takeError());
  };
  EXPECT_THAT(refusal(R"({"r": 4})"), HasSubstr("no part of a pipeline"));
  EXPECT_THAT(refusal(R"({"unet.peft_type": "OFT"})"), HasSubstr("OFT"));
}

void expectKey(llvm::StringRef key, bool fromPeft, llvm::StringRef module, llvm::StringRef factor,
               llvm::StringRef attribute, bool flattened = false) {
  AdapterKey parsed = parseAdapterKey(key, fromPeft);
  EXPECT_EQ(parsed.module, module) << key.str();
  EXPECT_EQ(parsed.factor, factor) << key.str();
  EXPECT_EQ(parsed.attribute, attribute) << key.str();
  EXPECT_EQ(parsed.flattened, flattened) << key.str();
}

TEST(AdapterKeys, Peft) {
  expectKey("base_model.model.l.0.q.lora_A.weight", true, "l.0.q", "lora_A", "");
  expectKey("base_model.model.l.0.q.lora_B.default.weight", true, "l.0.q", "lora_B", "");
  expectKey("base_model.model.l.0.q.lora_B.bias", true, "l.0.q", "lora_B.bias", "");
  expectKey("base_model.model.e.lora_embedding_A", true, "e", "lora_embedding_A", "");
  expectKey("base_model.model.q.lora_magnitude_vector", true, "q", "lora_magnitude_vector", "");
  expectKey("base_model.model.q.base_layer.bias", true, "q", "", "bias");
  expectKey("base_model.model.head.modules_to_save.default.weight", true, "head", "", "weight");
  expectKey("base_model.model.alpha", true, "", "", "alpha");
  expectKey("base_model.model.norm.ln_tuning_layers.weight", true, "norm", "", "weight");
  expectKey("base_model.model.norm.ln_tuning_layers.default.bias", true, "norm", "", "bias");
  expectKey("base_model.model.q.lora_E", true, "q", "lora_E", "");
  expectKey("base_model.model.e.token_adapter.trainable_tokens_delta", true, "e",
            "trainable_tokens_delta", "");
  expectKey("base_model.vera_A", true, "", "vera_A", "");
}

TEST(AdapterKeys, ModulesNamedAsFactorsAre) {
  expectKey("base_model.model.lora_A.proj.lora_A.weight", true, "lora_A.proj", "lora_A", "");
  expectKey("base_model.model.lora_A.proj.base_layer.bias", true, "lora_A.proj", "", "bias");
  expectKey("base_model.model.lora_B.lora_B.default.weight", true, "lora_B", "lora_B", "");
  expectKey("base_model.model.lora_B.base_layer.bias", true, "lora_B", "", "bias");
  expectKey("base_model.model.lora_B.bias", true, "lora_B", "", "bias");
  expectKey("base_model.model.lora.up.lora_A.weight", true, "lora.up", "lora_A", "");
  expectKey("base_model.model.lora.up.weight", true, "lora.up", "", "weight");
  expectKey("base_model.model.base_layer.lora_A.weight", true, "base_layer", "lora_A", "");
  expectKey("base_model.model.base_layer.base_layer.bias", true, "base_layer", "", "bias");
  expectKey("base_model.model.base_model.model.lora_A.weight", true, "base_model.model", "lora_A",
            "");
  expectKey("base_model.model.modules_to_save.default.lora_A.weight", true,
            "modules_to_save.default", "lora_A", "");
  expectKey("base_model.model.attn.base_layer.out_proj.lora_A.weight", true, "attn.out_proj",
            "lora_A", "");
}

TEST(AdapterKeys, OtherTools) {
  expectKey("text_encoder.l.0.q_proj.lora_linear_layer.down.weight", false,
            "text_encoder.l.0.q_proj", "lora_A", "");
  expectKey("unet.a.attn1.processor.to_q_lora.up.weight", false, "unet.a.attn1.to_q", "lora_B", "");
  expectKey("a.attn2.processor.to_out_lora.down.weight", false, "a.attn2.to_out.0", "lora_A", "");
  expectKey("lora_unet_down_0_to_q.lora_down.weight", false, "down_0_to_q", "lora_A", "", true);
  expectKey("lora_te1_text_q.alpha", false, "text_q", "alpha", "", true);
  expectKey("lycoris_blocks_0_fc.hada_w1_a", false, "blocks_0_fc", "hada_w1_a", "", true);
  expectKey("unet.down.0.to_q.lora.up.weight", false, "unet.down.0.to_q", "lora_B", "");
  expectKey("transformer.x.lora_A.weight", false, "transformer.x", "lora_A", "");
  expectKey("te.q_proj.lora_linear_layer.down.weight", false, "te.q_proj", "lora_A", "");
  expectKey("unet.b.0.attn1.processor.to_k_lora.up.weight", false, "unet.b.0.attn1.to_k", "lora_B",
            "");
  expectKey("unet.b.0.attn1.processor.to_out_lora.down.weight", false, "unet.b.0.attn1.to_out.0",
            "lora_A", "");
}

TEST(AdapterKeys, Differences) {
  for (auto [name, attribute] : std::map<llvm::StringRef, llvm::StringRef>{
           {"diff", "weight"}, {"diff_b", "bias"}, {"w_norm", "weight"}, {"b_norm", "bias"}}) {
    expectKey(("lora_unet_a_b." + name).str(), false, "a_b", "", attribute, true);
    expectKey(("diffusion_model.a.b." + name).str(), false, "diffusion_model.a.b", "", attribute);
    EXPECT_TRUE(parseAdapterKey(("lora_unet_a_b." + name).str(), false).isDifference);
    EXPECT_FALSE(parseAdapterKey(("base_model.model.a." + name).str(), true).isDifference);
  }
  EXPECT_FALSE(parseAdapterKey("a.weight", false).isDifference);
}

TEST(AdapterKeys, OtherKinds) {
  for (llvm::StringRef key : {"lora_unet_a.oft_blocks", "a.boft_R", "lora_unet_a.a1.weight",
                              "lora_unet_a.on_input", "lora_unet_a.scalar"})
    EXPECT_THAT(whyForeign(key), HasSubstr("not supported")) << key.str();
  for (llvm::StringRef key : {"base_model.model.a.ia3_l", "base_model.model.a.lora_E"})
    EXPECT_THAT(whyForeign(key), HasSubstr("adapter_config.json")) << key.str();
  for (llvm::StringRef key : {"lora_unet_a.lora_up.weight", "lora_unet_a1.alpha", "a.weight", "a1"})
    EXPECT_EQ(whyForeign(key), "") << key.str();
}

} // namespace
