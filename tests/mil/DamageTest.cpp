// Damaged text: every golden file cut anywhere or changed in places is an error with its place, or
// a program that can be verified and printed; never a crash.
#include "mil/Lexer.h"
#include "tests/GoldenRunner.h"
#include "tests/SourceDir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;
using testing::ContainsRegex;
using testing::StartsWith;

namespace {

/// Weights that are all ones, of files that are not long.
ParseOptions shortFiles() {
  ParseOptions options;
  options.blob = [](llvm::StringRef, uint64_t, const Type &type) -> Expected<TensorData> {
    auto shape = constShape(type.shape());
    if (!shape || numElements(llvm::ArrayRef<int64_t>(*shape)) > 1 << 16)
      return makeError(Code::Internal, "the weight file is shorter");
    return TensorData::splat(type.dtype(), *shape, 1);
  };
  return options;
}

template <typename Visit> void eachCase(Visit visit) {
  for (const char *folder : {"text", "passes"})
    for (const std::string &file : golden::filesIn(sourcePath("tests/golden/") + folder))
      for (const golden::Case &c : golden::readCases(file))
        visit(c.input);
}

void expectPlace(const std::string &message) {
  EXPECT_THAT(message, ContainsRegex("^<text>:[0-9]+:[0-9]+: [^\n]+\n  [^\n]*\n +\\^$"));
}

TEST(Damage, CutBetweenTokens) {
  ParseOptions options = shortFiles();
  unsigned count = 0;
  eachCase([&](const std::string &text) {
    llvm::StringRef whole = llvm::StringRef(text).rtrim();
    Lexer lexer(whole);
    std::vector<size_t> ends;
    for (Token token = lexer.next(); token.kind != Token::End; token = lexer.next())
      ends.push_back(token.text.end() - whole.begin());
    ends.pop_back();
    // Every third place of a short one, fewer of a long one.
    for (size_t i = 0; i < ends.size(); i += ends.size() < 200 ? 3 : 31) {
      auto program = parseProgram(whole.take_front(ends[i]), options);
      ASSERT_FALSE(program) << whole.take_front(ends[i]).str();
      expectPlace(llvm::toString(program.takeError()));
      ++count;
    }
  });
  EXPECT_GT(count, 1000u);
}

TEST(Damage, WordsReplaced) {
  ParseOptions options = shortFiles();
  PrintOptions printing;
  printing.digests = false;
  std::mt19937 random(1);
  auto pick = [&](size_t size) { return size_t(random()) % size; };
  // Damage that keeps most of the syntax: what words and numbers of the text stand for changes.
  const llvm::StringRef replacements[] = {
      "-1",     "0",    "1",     "2",    "5",      "100000", "9223372036854775807",
      "?",      "fp16", "int32", "bool", "x",      "y",      "true",
      "string", "[]",   "()",    "relu", "concat", "cond",   ","};
  unsigned parsed = 0, verified = 0;
  auto damage = [&](std::string text) {
    for (size_t n = 0, count = 1 + pick(3); n < count; ++n) {
      size_t begin = pick(text.size());
      while (begin < text.size() && !llvm::isAlnum(text[begin]))
        ++begin;
      size_t end = begin;
      auto isWord = [](char c) { return llvm::isAlnum(c) || c == '_'; };
      while (begin > 0 && isWord(text[begin - 1]))
        --begin;
      while (end < text.size() && isWord(text[end]))
        ++end;
      text.replace(begin, end - begin, replacements[pick(std::size(replacements))].str());
    }
    return text;
  };
  eachCase([&](const std::string &input) {
    for (int round = 0; round < 10; ++round) {
      std::string text = damage(input);
      auto program = parseProgram(text, options);
      if (!program) {
        expectPlace(llvm::toString(program.takeError()));
        continue;
      }
      ++parsed;
      if (Error error = verify(**program)) {
        llvm::consumeError(std::move(error));
      } else {
        ++verified;
        checkDeviceProfile(**program); // asks of well-formed programs only
      }
      std::string printed = toString(**program, printing);
      auto again = parseProgram(printed, options);
      if (again)
        EXPECT_EQ(toString(**again, printing), printed);
      else
        ADD_FAILURE() << llvm::toString(again.takeError()) << "\n" << text;
    }
  });
  EXPECT_GT(parsed, 50u);
  EXPECT_GT(verified, 10u);
}

TEST(Damage, BytesChanged) {
  ParseOptions options = shortFiles();
  std::mt19937 random(2);
  unsigned refused = 0;
  eachCase([&](const std::string &input) {
    for (int round = 0; round < 20; ++round) {
      std::string text = input;
      text[random() % text.size()] = char(random());
      auto program = parseProgram(text, options);
      refused += !program;
      if (!program)
        expectPlace(llvm::toString(program.takeError()));
      else
        llvm::consumeError(verify(**program));
    }
  });
  EXPECT_GT(refused, 500u);
}

} // namespace
