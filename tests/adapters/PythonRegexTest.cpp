// The language of patterns in adapter configurations, and that matching always ends.
#include "adapters/PythonRegex.h"

#include "llvm/Support/thread.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace plait;
using plait::adapters::PythonRegex;
using testing::HasSubstr;

namespace {

bool full(llvm::StringRef pattern, llvm::StringRef text) {
  auto regex = PythonRegex::compile(pattern);
  EXPECT_TRUE(bool(regex)) << toString(regex.takeError());
  auto match = regex->fullmatch(text);
  EXPECT_TRUE(bool(match)) << toString(match.takeError());
  return match->has_value();
}

std::string regexProblem(llvm::StringRef pattern) {
  auto regex = PythonRegex::compile(pattern);
  return regex ? "" : toString(regex.takeError());
}

TEST(PythonRegex, Language) {
  EXPECT_TRUE(full("a.c", "abc"));
  EXPECT_FALSE(full("a.c", "abcd"));
  EXPECT_TRUE(full(".*\\.(q|k)_proj", "layers.0.q_proj"));
  EXPECT_FALSE(full(".*\\.(q|k)_proj", "layers.0.v_proj"));
  EXPECT_TRUE(full(".*layers\\.(?:[0-9]|1[0-5])\\..*", "m.layers.12.up"));
  EXPECT_FALSE(full(".*layers\\.(?:[0-9]|1[0-5])\\..*", "m.layers.19.up"));
  EXPECT_TRUE(full("[^a-c]+", "xyz"));
  EXPECT_FALSE(full("[^a-c]+", "xaz"));
  EXPECT_TRUE(full("[]a-]+", "a-]"));
  EXPECT_TRUE(full("\\d{2,3}\\w?", "123_"));
  EXPECT_FALSE(full("\\d{2,3}", "1"));
  EXPECT_TRUE(full("a{2}", "aa"));
  EXPECT_TRUE(full("a{x}", "a{x}"));
  EXPECT_TRUE(full("(?!lm_head).*", "q_proj"));
  EXPECT_FALSE(full("(?!lm_head).*", "lm_head"));
  EXPECT_TRUE(full("(?=q)q.*", "q_proj"));
  EXPECT_TRUE(full("^a$", "a"));
  EXPECT_TRUE(full("\\bab\\b.*", "ab.c"));
  EXPECT_TRUE(full("", ""));
  EXPECT_TRUE(full("(a|)b", "b"));
}

TEST(PythonRegex, MatchIsAnchoredAtTheBeginning) {
  auto regex = PythonRegex::compile("ab");
  EXPECT_TRUE(llvm::cantFail(regex->match("abc")).has_value());
  EXPECT_FALSE(llvm::cantFail(regex->match("cab")).has_value());
}

TEST(PythonRegex, NamedGroupsAndLaziness) {
  auto regex = PythonRegex::compile(".*?\\.[^.]*\\.(?P<idx>\\d+)\\.");
  auto match = llvm::cantFail(regex->match("model.layers.1.experts.0.up"));
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ((*match)["idx"], "1");
  auto greedy = PythonRegex::compile(".*\\.(?P<idx>\\d+)\\.");
  EXPECT_EQ((*llvm::cantFail(greedy->match("model.layers.1.experts.0.up")))["idx"], "0");
}

TEST(PythonRegex, LookBehindBackreferencesAndFlags) {
  EXPECT_TRUE(full("q(?<=q)_proj", "q_proj"));
  EXPECT_FALSE(full("q(?<!q)_proj", "q_proj"));
  EXPECT_TRUE(full("(\\w)\\1", "aa"));
  EXPECT_FALSE(full("(\\w)\\1", "ab"));
  EXPECT_TRUE(full("(?P<n>\\d)\\.(?P=n)", "7.7"));
  EXPECT_TRUE(full("(?i)q_PROJ", "Q_proj"));
  EXPECT_TRUE(full("(?:(?i:Q)_proj)", "q_proj"));
}

TEST(PythonRegex, WherePythonDiffersFromPcre) {
  // \Z is the very end; so is \v one character, and [[ a set like any other.
  EXPECT_TRUE(llvm::cantFail(PythonRegex::compile("a\\Z")->match("a")).has_value());
  EXPECT_FALSE(llvm::cantFail(PythonRegex::compile("a\\Z")->match("a\n")).has_value());
  EXPECT_TRUE(llvm::cantFail(PythonRegex::compile("a$")->match("a\n")).has_value());
  EXPECT_FALSE(full("\\v", "\n"));
  EXPECT_TRUE(full("[[:a]+", "[a:"));
  EXPECT_TRUE(full("a{,2}b", "aab"));
  EXPECT_FALSE(full("a{,2}b", "aaab"));
  EXPECT_TRUE(full("\\u00e9", "\u00e9"));
  EXPECT_TRUE(full("\\w+", "\u00e9"));
  for (llvm::StringRef pattern : {"(?R)", "(?1)", "(?&n)", "(?|a)", "(?<n>a)", "a\\Kb", "\\Rb",
                                  "(*ANY)a", "\\Qa", "[\\Z]", "(?L)a"})
    EXPECT_NE(regexProblem(pattern), "") << pattern.str();
}

TEST(PythonRegex, Refused) {
  for (llvm::StringRef pattern :
       {"(", ")", "(?P<", "[a", "a**", "*a", "\\1", "[b-a]", "a{3,2}", "a{2000}", "\\", "(?<=a*)b"})
    EXPECT_NE(regexProblem(pattern), "") << pattern.str();
  EXPECT_THAT(regexProblem("(?R)"), HasSubstr("not supported"));
  EXPECT_NE(regexProblem(std::string(100, '(') + std::string(100, ')')), "");
  EXPECT_NE(regexProblem(std::string(10000, 'a')), "");
}

TEST(PythonRegex, GivesUpInsteadOfTakingForever) {
  EXPECT_FALSE(full("(a+)+b", std::string(60, 'a'))); // PCRE2 sees that there is no b
  auto regex = PythonRegex::compile("(a+)+(?:b|c)");
  auto match = regex->fullmatch(std::string(60, 'a'));
  ASSERT_FALSE(bool(match));
  EXPECT_THAT(toString(match.takeError()), HasSubstr("too long"));
}

TEST(PythonRegex, TakesNoStack) {
  // Groups in groups, each of which may repeat: on a thread with a small stack.
  std::string pattern;
  for (unsigned i = 0; i < 30; ++i)
    pattern += "(?:";
  pattern += "[a-z]";
  for (unsigned i = 0; i < 30; ++i)
    pattern += ")*";
  bool ended = false;
  llvm::thread thread(std::optional<unsigned>(128 * 1024), [&] {
    auto regex = PythonRegex::compile(pattern);
    auto match = regex->fullmatch(std::string(40, 'a') + "-");
    if (!match)
      consumeError(match.takeError());
    ended = true;
  });
  thread.join();
  EXPECT_TRUE(ended);
}

} // namespace
