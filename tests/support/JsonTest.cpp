// JSON of files that nobody vouches for: nesting, members of one name, and what is an integer of 64
// bits.
#include "support/Json.h"
#include <gtest/gtest.h>

using namespace plait;

namespace {

std::optional<int64_t> integerIn(llvm::StringRef text) {
  auto value = parseJson(text);
  if (!value) {
    llvm::consumeError(value.takeError());
    return std::nullopt;
  }
  return jsonInteger(*value);
}

TEST(Json, IntegersAreThoseOf64Bits) {
  EXPECT_EQ(integerIn("-7"), -7);
  EXPECT_EQ(integerIn("3.0"), 3);
  EXPECT_EQ(integerIn("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(integerIn("9223372036854775000"), 9223372036854775000);
  EXPECT_EQ(integerIn("-9223372036854775808"), INT64_MIN);
}

TEST(Json, WhatHasNoIntegerIsNone) {
  for (llvm::StringRef text :
       {"9223372036854775808", "9.223372036854775808e18", "1e30", "-1e30", "0.5", "\"3\"", "null"})
    EXPECT_EQ(integerIn(text), std::nullopt) << text.str();
}

TEST(Json, NestingIsBoundedBeforeItIsParsed) {
  EXPECT_TRUE(bool(parseJson(std::string(60, '[') + std::string(60, ']'))));
  auto deep = parseJson(std::string(1000000, '['));
  ASSERT_FALSE(bool(deep));
  EXPECT_NE(llvm::toString(deep.takeError()).find("levels deep"), std::string::npos);
}

TEST(Json, TwoMembersOfOneNameAreRefused) {
  auto twice = parseJson(R"({"a": 1, "a": 2})");
  ASSERT_FALSE(bool(twice));
  EXPECT_NE(llvm::toString(twice.takeError()).find("two members"), std::string::npos);
  EXPECT_TRUE(bool(parseJson(R"({"a:b": "c:d"})")));
}

} // namespace
