// The text of schemes and rules.
#include "compress/Program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace plait::compress {

using testing::HasSubstr;

static std::string text(llvm::StringRef scheme) {
  auto parsed = parseScheme(scheme);
  return parsed ? parsed->str() : llvm::toString(parsed.takeError());
}

TEST(Scheme, ReadsBackWhatItPrints) {
  for (auto [given, meant] : {std::pair("int8", "int8[channel]"),
                              {"int8[tensor]", "int8[tensor]"},
                              {"int4", "int4[block 32]"},
                              {"uint4[ block 16 ]", "uint4[block 16]"},
                              {"palette4", "palette4[tensor]"},
                              {"palette6[group 8, table int8]", "palette6[group 8, table int8]"},
                              {"palette8[vector 4]", "palette8[tensor, vector 4]"},
                              {"palette1[group 1]", "palette1[channel]"},
                              {"prune50%", "prune50%"},
                              {"prune2:4 + int8", "prune2:4+int8[channel]"},
                              {"prune62.5%+palette4[channel]", "prune62.5%+palette4[channel]"},
                              {"q8", "int8[channel]"},
                              {"q6", "palette6[tensor]"},
                              {"q4", "palette4[group 16]"},
                              {"q4+lowrank16", "palette4[group 16]+lowrank16"},
                              {"prune50% + q6", "prune50%+palette6[tensor]"},
                              {"int4 + lowrank 8", "int4[block 32]+lowrank8"},
                              {"none", "none"}}) {
    EXPECT_EQ(text(given), meant);
    EXPECT_EQ(text(meant), meant);
  }
}

TEST(Scheme, SaysWhatIsWrong) {
  EXPECT_THAT(text("palette5"), HasSubstr("1, 2, 3, 4, 6 or 8 bits"));
  EXPECT_THAT(text("int3"), HasSubstr("4 or 8 bits"));
  EXPECT_THAT(text("int8[group 4]"), HasSubstr("a scale is for the tensor, a channel or a block"));
  EXPECT_THAT(text("palette4[block 32]"), HasSubstr("a palette is for the tensor"));
  EXPECT_THAT(text("palette4[rows 3]"), HasSubstr("'rows 3' is no option"));
  EXPECT_THAT(text("palette4[vector 1]"), HasSubstr("2 to 16 numbers"));
  EXPECT_THAT(text("palette4[group 4, vector 2]"), HasSubstr("one table for the tensor"));
  EXPECT_THAT(text("prune50%+palette4[vector 2]"), HasSubstr("single numbers"));
  EXPECT_THAT(text("palette4[group 16"), HasSubstr("[ without ]"));
  EXPECT_THAT(text("prune100%"), HasSubstr("below 100%"));
  EXPECT_THAT(text("prune4:2"), HasSubstr("N of every M"));
  EXPECT_THAT(text("int8+palette4"), HasSubstr("pruning comes first"));
  EXPECT_THAT(text("palette4+prune50%"), HasSubstr("pruning comes first"));
  EXPECT_THAT(text("lowrank16"), HasSubstr("which come before it"));
  EXPECT_THAT(text("prune50%+lowrank16"), HasSubstr("which come before it"));
  EXPECT_THAT(text("q4+lowrank0"), HasSubstr("is 1 to 256"));
  EXPECT_THAT(text("q4+lowrank4+lowrank4"), HasSubstr("then one correction"));
  EXPECT_THAT(text("palette4[vector 2]+lowrank4"), HasSubstr("have no correction"));
  EXPECT_THAT(text("zip"), HasSubstr("schemes are none, q8"));
  EXPECT_THAT(text(""), HasSubstr("schemes are"));
}

TEST(Scheme, RulesHavePatterns) {
  auto rule = parseRule("encoder.*.weight=palette4[group 16]");
  ASSERT_TRUE(bool(rule)) << llvm::toString(rule.takeError());
  EXPECT_EQ(rule->pattern, "encoder.*.weight");
  EXPECT_EQ(rule->scheme.str(), "palette4[group 16]");
  rule = parseRule("q4");
  ASSERT_TRUE(bool(rule)) << llvm::toString(rule.takeError());
  EXPECT_EQ(rule->pattern, "");
  for (const char *wrong : {"=int8", "lm_head=", "lm_head"}) {
    auto bad = parseRule(wrong);
    EXPECT_FALSE(bool(bad)) << wrong;
    if (!bad)
      llvm::consumeError(bad.takeError());
  }
}

} // namespace plait::compress
