// Which modules a configuration chooses, with which rank and alpha; what it is refused for. And the
// names of tensors.
#include "adapters/AdapterConfig.h"
#include "adapters/AdapterKeys.h"
#include "adapters/ForeignKeys.h"

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

void expectKey(llvm::StringRef key, KeyForm form, llvm::StringRef module, llvm::StringRef factor,
               llvm::StringRef attribute, bool flattened = false) {
  AdapterKey parsed = parseAdapterKey(key, form);
  EXPECT_EQ(parsed.module, module) << key.str();
  EXPECT_EQ(parsed.factor, factor) << key.str();
  EXPECT_EQ(parsed.attribute, attribute) << key.str();
  EXPECT_EQ(parsed.flattened, flattened) << key.str();
}

TEST(AdapterKeys, Peft) {
  expectKey("base_model.model.l.0.q.lora_A.weight", KeyForm::Peft, "l.0.q", "lora_A", "");
  expectKey("base_model.model.l.0.q.lora_B.default.weight", KeyForm::Peft, "l.0.q", "lora_B", "");
  expectKey("base_model.model.l.0.q.lora_B.bias", KeyForm::Peft, "l.0.q", "lora_B.bias", "");
  expectKey("base_model.model.e.lora_embedding_A", KeyForm::Peft, "e", "lora_embedding_A", "");
  expectKey("base_model.model.q.lora_magnitude_vector", KeyForm::Peft, "q", "lora_magnitude_vector",
            "");
  expectKey("base_model.model.q.base_layer.bias", KeyForm::Peft, "q", "", "bias");
  expectKey("base_model.model.head.modules_to_save.default.weight", KeyForm::Peft, "head", "",
            "weight");
  expectKey("base_model.model.alpha", KeyForm::Peft, "", "", "alpha");
  expectKey("base_model.model.norm.ln_tuning_layers.weight", KeyForm::Peft, "norm", "", "weight");
  expectKey("base_model.model.norm.ln_tuning_layers.default.bias", KeyForm::Peft, "norm", "",
            "bias");
  expectKey("base_model.model.q.lora_E", KeyForm::Peft, "q", "lora_E", "");
  expectKey("base_model.model.e.token_adapter.trainable_tokens_delta", KeyForm::Peft, "e",
            "trainable_tokens_delta", "");
  expectKey("base_model.vera_A", KeyForm::Peft, "", "vera_A", "");
}

TEST(AdapterKeys, ModulesNamedAsFactorsAre) {
  expectKey("base_model.model.lora_A.proj.lora_A.weight", KeyForm::Peft, "lora_A.proj", "lora_A",
            "");
  expectKey("base_model.model.lora_A.proj.base_layer.bias", KeyForm::Peft, "lora_A.proj", "",
            "bias");
  expectKey("base_model.model.lora_B.lora_B.default.weight", KeyForm::Peft, "lora_B", "lora_B", "");
  expectKey("base_model.model.lora_B.base_layer.bias", KeyForm::Peft, "lora_B", "", "bias");
  expectKey("base_model.model.lora_B.bias", KeyForm::Peft, "lora_B", "", "bias");
  expectKey("base_model.model.lora.up.lora_A.weight", KeyForm::Peft, "lora.up", "lora_A", "");
  expectKey("base_model.model.lora.up.weight", KeyForm::Peft, "lora.up", "", "weight");
  expectKey("base_model.model.base_layer.lora_A.weight", KeyForm::Peft, "base_layer", "lora_A", "");
  expectKey("base_model.model.base_layer.base_layer.bias", KeyForm::Peft, "base_layer", "", "bias");
  expectKey("base_model.model.base_model.model.lora_A.weight", KeyForm::Peft, "base_model.model",
            "lora_A", "");
  expectKey("base_model.model.modules_to_save.default.lora_A.weight", KeyForm::Peft,
            "modules_to_save.default", "lora_A", "");
  expectKey("base_model.model.attn.base_layer.out_proj.lora_A.weight", KeyForm::Peft,
            "attn.out_proj", "lora_A", "");
}

TEST(AdapterKeys, OtherTools) {
  expectKey("text_encoder.l.0.q_proj.lora_linear_layer.down.weight", KeyForm::Other,
            "text_encoder.l.0.q_proj", "lora_A", "");
  expectKey("unet.a.attn1.processor.to_q_lora.up.weight", KeyForm::Other, "unet.a.attn1.to_q",
            "lora_B", "");
  expectKey("a.attn2.processor.to_out_lora.down.weight", KeyForm::Other, "a.attn2.to_out.0",
            "lora_A", "");
  expectKey("lora_unet_down_0_to_q.lora_down.weight", KeyForm::Other, "down_0_to_q", "lora_A", "",
            true);
  expectKey("lora_te1_text_q.alpha", KeyForm::Other, "text_q", "alpha", "", true);
  expectKey("lycoris_blocks_0_fc.hada_w1_a", KeyForm::Other, "blocks_0_fc", "hada_w1_a", "", true);
  expectKey("unet.down.0.to_q.lora.up.weight", KeyForm::Other, "unet.down.0.to_q", "lora_B", "");
  expectKey("transformer.x.lora_A.weight", KeyForm::Other, "transformer.x", "lora_A", "");
  expectKey("te.q_proj.lora_linear_layer.down.weight", KeyForm::Other, "te.q_proj", "lora_A", "");
  expectKey("unet.b.0.attn1.processor.to_k_lora.up.weight", KeyForm::Other, "unet.b.0.attn1.to_k",
            "lora_B", "");
  expectKey("unet.b.0.attn1.processor.to_out_lora.down.weight", KeyForm::Other,
            "unet.b.0.attn1.to_out.0", "lora_A", "");
}

TEST(AdapterKeys, Mlx) {
  expectKey("model.layers.0.self_attn.q_proj.lora_a", KeyForm::Mlx,
            "model.layers.0.self_attn.q_proj", "lora_A", "");
  expectKey("l.0.q.lora_b", KeyForm::Mlx, "l.0.q", "lora_B", "");
  expectKey("l.0.q.m", KeyForm::Mlx, "l.0.q", "lora_magnitude_vector", "");
  expectKey("l.0.q.bias", KeyForm::Mlx, "l.0.q", "", "bias");
}

TEST(AdapterKeys, NamesThatTrainingPutsIntoPaths) {
  for (KeyForm form : {KeyForm::Peft, KeyForm::Other}) {
    for (llvm::StringRef key : {"_orig_mod.base_model.model.l.0.q.lora_A.weight",
                                "base_model.model._orig_mod.l.0.q.lora_A.weight",
                                "base_model.model.l.0._orig_mod.q.lora_A.weight",
                                "base_model._orig_mod.model.l.0.q.lora_A.weight",
                                "base_model.model.l.0.q._orig_mod.lora_A.default.weight",
                                "base_model.model.l.0.q.lora_A.default._orig_mod.weight",
                                "module.base_model.model.l._fsdp_wrapped_module.0._checkpoint_"
                                "wrapped_module.q.lora_A.weight"})
      expectKey(key, form, "l.0.q", "lora_A", "");
    expectKey("a.q._orig_mod.weight", form, "a.q", "", "weight");
    // A parameter of that name is one.
    expectKey("a._orig_mod", form, "a", "", "_orig_mod");
    expectKey("_orig_mod", form, "", "", "_orig_mod");
  }
  expectKey("lora_unet__orig_mod_down_0__orig_mod_to_q.lora_down.weight", KeyForm::Other,
            "down_0_to_q", "lora_A", "", true);
}

TEST(AdapterKeys, OfDiffusers) {
  for (llvm::StringRef key : {"unet.down.0.to_q.lora_A.weight", "transformer.x.lora_A.weight",
                              "text_encoder.l.0.q_proj.lora_linear_layer.down.weight",
                              "a.attn2.processor.to_out_lora.down.weight", "a.to_q.lora.up.weight"})
    EXPECT_TRUE(parseAdapterKey(key, KeyForm::Other).ofDiffusers) << key.str();
  for (llvm::StringRef key : {"l.0.q.lora_A.weight", "base_model.model.unet.q.lora_A.weight",
                              "lora_unet_q.lora_down.weight", "diffusion_model.q.lora_A.weight",
                              "transformer.h.0.attn.c_attn.lora_A.weight",
                              "transformer.encoder.layers.0.q.lora_A.weight"})
    EXPECT_FALSE(parseAdapterKey(key, KeyForm::Other).ofDiffusers) << key.str();
}

TEST(AdapterKeys, Differences) {
  for (auto [name, attribute] : std::map<llvm::StringRef, llvm::StringRef>{
           {"diff", "weight"}, {"diff_b", "bias"}, {"w_norm", "weight"}, {"b_norm", "bias"}}) {
    expectKey(("lora_unet_a_b." + name).str(), KeyForm::Other, "a_b", "", attribute, true);
    expectKey(("diffusion_model.a.b." + name).str(), KeyForm::Other, "diffusion_model.a.b", "",
              attribute);
    EXPECT_TRUE(parseAdapterKey(("lora_unet_a_b." + name).str(), KeyForm::Other).isDifference);
    EXPECT_FALSE(parseAdapterKey(("base_model.model.a." + name).str(), KeyForm::Peft).isDifference);
  }
  EXPECT_FALSE(parseAdapterKey("a.weight", KeyForm::Other).isDifference);
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

TEST(ForeignKeys, NameTheTool) {
  for (auto [key, tool] : std::map<llvm::StringRef, const char *>{
           {"layers.0.attn.q_proj.lora_a.weight", "torchtune"},
           {"model.layers.0.self_attn.q_proj.lora_a", "MLX"},
           {"language_model.layers.0.q_proj.A", "mlx-vlm"},
           {"unet:0:up", "lora_diffusion"},
           {"double_blocks.0.processor.qkv_lora1.up.weight", "XLabs"},
           {"l.0.attention.self.query.loras.x.lora_A", "AdapterHub"},
           {"m.layers.0.linear_qkv.adapter.linear_in.weight", "NeMo"},
           {"bundle_emb.word.string_to_param.*", "textual inversion"},
           {"lora_unet_double_blocks_0_qkv.lora_down.weight", "Kohya"},
           {"lycoris_a_b.lokr_w1", "LyCORIS"},
           {"diffusion_model.a.lora_A.weight", "ai-toolkit"},
           {"a.attn1.to_q.lora_A.weight", "diffusers"},
           {"base_model.model.q.lora_A.weight", "Unsloth"},
           {"a.oft_blocks", "OFT"}})
    EXPECT_THAT(likelyTool(key), HasSubstr(tool)) << key.str();
  EXPECT_EQ(likelyTool("l.0.q.lora_A.weight"), "");
  EXPECT_EQ(likelyTool(""), "");
}

TEST(MlxConfig, RankScaleAndKeys) {
  auto mlx = [](llvm::StringRef parameters, llvm::StringRef rest = "") {
    return AdapterConfig::parse(
        ("{\"lora_parameters\": {" + parameters + "}, \"num_layers\": 4" + rest + "}").str());
  };
  AdapterConfig config = llvm::cantFail(
      mlx(R"("rank": 8, "scale": 20.0, "dropout": 0.0, "keys": ["self_attn.q_proj"])",
          R"(, "fine_tune_type": "dora", "batch_size": 4)"));
  EXPECT_EQ(config.mlxScale, 20.0);
  EXPECT_EQ(config.rank, 8);
  EXPECT_TRUE(config.dora);
  EXPECT_TRUE(adapts(config, "model.layers.0.self_attn.q_proj"));
  EXPECT_FALSE(adapts(config, "model.layers.0.self_attn.k_proj"));
  config = llvm::cantFail(mlx(R"("rank": 4, "scale": 2, "alpha": 4)"));
  EXPECT_TRUE(adapts(config, "anything"));
  EXPECT_FALSE(config.dora);
  auto refusal = [&](llvm::StringRef parameters, llvm::StringRef rest = "") {
    auto config = mlx(parameters, rest);
    return config ? "" : toString(config.takeError());
  };
  EXPECT_THAT(refusal(R"("rank": 8)"), HasSubstr("'scale'"));
  EXPECT_THAT(refusal(R"("scale": 8)"), HasSubstr("'rank'"));
  EXPECT_THAT(refusal(R"("rank": 0.5, "scale": 1)"), HasSubstr("no rank"));
  EXPECT_THAT(refusal(R"("rank": 8, "scale": 10, "alpha": 16)"), HasSubstr("alpha / rank"));
  EXPECT_THAT(refusal(R"("rank": 8, "scale": 10, "new": 1)"), HasSubstr("'new'"));
  EXPECT_THAT(refusal(R"("rank": 8, "scale": 10, "keys": 1)"), HasSubstr("'keys'"));
  EXPECT_THAT(refusal(R"("rank": 8, "scale": 10)", R"(, "fine_tune_type": "full")"),
              HasSubstr("'full'"));
  EXPECT_THAT(problem(R"({"lora_layers": 16})"), HasSubstr("lora_parameters"));
}

} // namespace
