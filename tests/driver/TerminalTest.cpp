// The text of the progress line, texts that read back, and the head of --json. What a terminal
// shows of them tests/python/test_terminal.py looks at.
#include "driver/AdapterSyntax.h"
#include "driver/InputSyntax.h"
#include "driver/ProgressLine.h"
#include "driver/Recipe.h"
#include "driver/RecipeWriter.h"
#include "driver/StateSyntax.h"
#include "tests/driver/CommandTestUtils.h"

#include "llvm/Support/JSON.h"
#include "gmock/gmock.h"

using namespace plait;
using namespace plait::driver;

namespace {

TEST(ProgressLine, SaysWhatIsKnownOfTheRest) {
  EXPECT_EQ(ProgressLine::text("writing", 0, 7.2, 80), "writing  0:07");
  EXPECT_EQ(ProgressLine::text("writing", 0.25, 10, 80), "writing  25 %  0:30 left");
  EXPECT_EQ(ProgressLine::text("writing", 0.5, 3725, 80), "writing  50 %  1:02:05 left");
  EXPECT_EQ(ProgressLine::text("writing", 1, 10, 80), "writing  0:10");
}

TEST(ProgressLine, FitsTheTerminal) {
  EXPECT_EQ(ProgressLine::text("writing a long name", 0.25, 10, 26), "writing   25 %  0:30 left");
  EXPECT_EQ(ProgressLine::text("schön schön", 0, 1, 11), "sch  0:01"); // no half of a letter
  EXPECT_EQ(ProgressLine::text("writing", 0.25, 10, 3).size(), 17u);
}

TEST(Texts, OutputsReadBack) {
  for (const char *text :
       {"y", "y=fp32", "y=fp16", "mask=image[gray]", "mask=image[rgb, 1, 3, 8, 2..4]"}) {
    auto output = parseOutput(text);
    ASSERT_TRUE(bool(output)) << text;
    EXPECT_EQ(outputText(*output), text);
  }
}

TEST(Texts, StatesReadBack) {
  frontend::StatesRequest request;
  std::vector<std::string> texts = {"auto", "k.cache=fp16[1, 8]", "v=fp16", "n=input", "m=none"};
  for (const std::string &text : texts)
    ASSERT_FALSE(bool(addStates(request, text)));
  EXPECT_EQ(statesTexts(request), texts);
}

/// Words that YAML takes for something else, and paths that an adapter's grammar does.
TEST(Texts, RecipesReadBack) {
  CompileOptions options;
  options.output = "/w/on.mlpackage";
  options.metadata.author = "no";
  options.metadata.license = "- # 'x'";
  options.metadata.description = "a\n  b\t\"c\" \xC3\xA9\\";
  options.metadata.userDefined = {{"key: 1", ""}, {"null", "~"}};
  FunctionOptions function{{"f", "/w/base.pt"}};
  function.adapters.specs = {{"/w/a:2", 1, adapters::GivenScale{true, 0.1}}};
  function.adapters.root = "";
  function.descriptions = {{"x", "yes"}, {"y", " "}};
  options.functions = {function};
  std::string text = recipeText(options, std::nullopt, "/w/r.yaml");
  auto read = parseRecipe(text, "/w/r.yaml");
  ASSERT_TRUE(bool(read)) << toString(read.takeError()) << text;
  EXPECT_EQ(read->output, options.output);
  EXPECT_EQ(read->metadata.author, options.metadata.author);
  EXPECT_EQ(read->metadata.license, options.metadata.license);
  EXPECT_EQ(read->metadata.description, options.metadata.description);
  EXPECT_EQ(read->metadata.userDefined, options.metadata.userDefined);
  ASSERT_EQ(read->functions.size(), 1u);
  const FunctionOptions &back = read->functions[0];
  EXPECT_EQ(back.model, function.model);
  ASSERT_EQ(back.adapters.specs.size(), 1u);
  EXPECT_EQ(back.adapters.specs[0].path, "/w/a:2");
  EXPECT_EQ(back.adapters.specs[0].weight, 1);
  ASSERT_TRUE(back.adapters.specs[0].scale.has_value());
  EXPECT_TRUE(back.adapters.specs[0].scale->isAlpha);
  EXPECT_EQ(back.adapters.specs[0].scale->value, 0.1);
  EXPECT_EQ(back.adapters.root, "");
  EXPECT_EQ(back.descriptions, function.descriptions);
}

TEST(Json, HasOneHead) {
  CommandResult result = plaitCommand({"inspect", "none.mlpackage", "--json"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, testing::StartsWith("plait: error: "));
  auto value = llvm::json::parse(result.out);
  ASSERT_TRUE(bool(value)) << result.out;
  const llvm::json::Object &object = *value->getAsObject();
  EXPECT_EQ(object.getInteger("version"), 1);
  EXPECT_EQ(object.getString("command"), "inspect");
  EXPECT_EQ(object.getInteger("status"), 1);
  ASSERT_EQ(object.getArray("problems")->size(), 1u);
  EXPECT_EQ((*object.getArray("problems"))[0].getAsObject()->getString("severity"), "error");
}

/// What was said by a command before is no problem of the next one.
TEST(Json, ProblemsAreTheCommandsOwn) {
  plaitCommand({"inspect", "none.mlpackage"});
  auto value = llvm::json::parse(plaitCommand({"version", "--json"}).out);
  ASSERT_TRUE(bool(value));
  EXPECT_TRUE(value->getAsObject()->getArray("problems")->empty());
}

/// An operand may be called as the option is.
TEST(Json, IsAskedForBeforeTheOperands) {
  EXPECT_EQ(plaitCommand({"inspect", "--", "--json"}).out, "");
  EXPECT_NE(plaitCommand({"doctor", "--format", "json", "none"}).out, "");
  EXPECT_NE(plaitCommand({"doctor", "--format=json", "none"}).out, "");
}

} // namespace
