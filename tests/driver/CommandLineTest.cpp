// The option parser, on a command of its own.
#include "driver/CommandLine.h"

#include "llvm/Support/raw_ostream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace plait;
using namespace plait::driver;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

constexpr Option outOption{"o", "OUT", "where to"};
constexpr Option functionOption{"function", "NAME=FILE", "a function", 0, Scope::Many};
constexpr Option inputOption{"input", "TEXT", "an input", 'i', Scope::Function};
constexpr Option quietOption{"quiet", nullptr, "no words", 'q'};
constexpr Option modeOption{"mode", "fast|slow", "how"};
constexpr Option countOption{"count", "N", "how many"};
constexpr Option toleranceOption{"tolerance", "X", "how far"};
constexpr const Option *options[] = {&outOption,  &functionOption, &inputOption,    &quietOption,
                                     &modeOption, &countOption,    &toleranceOption};
constexpr Section sections[] = {{"Options", options}};
constexpr const char *usage[] = {"[options] FILE", "--function NAME=FILE ..."};
constexpr Hint hints[] = {{"speed", "there is only one; --mode chooses how"}};
const Command command = {"bake", "bakes", usage, sections, "That is all.\n", hints, nullptr};

Arguments parse(std::vector<const char *> arguments) {
  auto result = Arguments::parse(command, arguments);
  if (!result) {
    ADD_FAILURE() << toString(result.takeError());
    return {};
  }
  return std::move(*result);
}

template <typename T> std::string failure(Expected<T> result) {
  if (result) {
    ADD_FAILURE() << "no error";
    return "";
  }
  Error error = result.takeError();
  EXPECT_TRUE(error.isA<UsageError>());
  return toString(std::move(error));
}
std::string refusal(std::vector<const char *> arguments) {
  return failure(Arguments::parse(command, arguments));
}

TEST(CommandLine, ValuesInEverySpelling) {
  EXPECT_EQ(parse({"-o", "a"}).value(outOption), "a");
  EXPECT_EQ(parse({"-o=a"}).value(outOption), "a");
  EXPECT_EQ(parse({"-oa"}).value(outOption), "a");
  EXPECT_EQ(parse({"--mode", "fast"}).value(modeOption), "fast");
  EXPECT_EQ(parse({"--mode=fast"}).value(modeOption), "fast");
  EXPECT_EQ(parse({"--mode="}).value(modeOption), "");
  EXPECT_EQ(parse({"-i", "x=[1]"}).values(inputOption).at(0), "x=[1]");
  EXPECT_EQ(parse({"-ix=[1]"}).values(inputOption).at(0), "x=[1]");
  EXPECT_EQ(parse({"--input=x=[1]"}).values(inputOption).at(0), "x=[1]");
  EXPECT_EQ(parse({"--mode", "--count"}).value(modeOption), "--count");
  EXPECT_FALSE(parse({}).value(outOption));
  EXPECT_TRUE(parse({"-q"}).has(quietOption));
  EXPECT_TRUE(parse({"--quiet"}).has(quietOption));
}

TEST(CommandLine, OrderIsKept) {
  Arguments arguments = parse({"one", "--function", "a=b", "-i", "x", "two", "--", "--mode", "-"});
  ASSERT_EQ(arguments.items().size(), 6u);
  EXPECT_EQ(arguments.items()[0].option, nullptr);
  EXPECT_EQ(arguments.items()[1].option, &functionOption);
  EXPECT_EQ(arguments.items()[2].option, &inputOption);
  EXPECT_THAT(arguments.operands(), ElementsAre("one", "two", "--mode", "-"));
}

TEST(CommandLine, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(refusal({"--inptu", "x"}),
            "unknown option --inptu (did you mean '--input'?); see: plait help bake");
  EXPECT_EQ(refusal({"--zebra"}), "unknown option --zebra; see: plait help bake");
  EXPECT_EQ(refusal({"--func=a=b"}),
            "unknown option --func (did you mean '--function'?); see: plait help bake");
  EXPECT_EQ(refusal({"-z"}), "unknown option -z; see: plait help bake");
  EXPECT_THAT(refusal({"--o", "x"}), HasSubstr("unknown option --o"));
  EXPECT_EQ(refusal({"--speed", "9"}), "--speed: there is only one; --mode chooses how");
}

TEST(CommandLine, RefusesWrongForms) {
  EXPECT_EQ(refusal({"-o", "a", "-o", "b"}), "-o is given twice");
  EXPECT_EQ(refusal({"--mode"}), "--mode needs a value: --mode fast|slow");
  EXPECT_EQ(refusal({"--quiet=yes"}), "--quiet takes no value");
  EXPECT_EQ(refusal({"-qx"}), "--quiet takes no value");
}

TEST(CommandLine, TypedValues) {
  EXPECT_EQ(*parse({"--mode", "slow"}).choice(modeOption, {"fast", "slow"}, 0), 1u);
  EXPECT_EQ(*parse({}).choice(modeOption, {"fast", "slow"}, 1), 1u);
  EXPECT_EQ(failure(parse({"--mode", "medium"}).choice(modeOption, {"fast", "slow"}, 0)),
            "--mode medium: the choices are fast, slow");
  EXPECT_EQ(failure(parse({"--mode", "fsat"}).choice(modeOption, {"fast", "slow"}, 0)),
            "--mode fsat: the choices are fast, slow (did you mean 'fast'?)");
  EXPECT_EQ(*parse({"--count", "12"}).number(countOption, 3, 100), 12u);
  EXPECT_EQ(*parse({}).number(countOption, 3, 100), 3u);
  for (const char *bad : {"101", "-1", "x", "1.5", "", "99999999999999999999999"})
    EXPECT_EQ(failure(parse({"--count", bad}).number(countOption, 3, 100)),
              std::string("--count ") + bad + ": not a number from 0 to 100");
  EXPECT_EQ(*parse({"--tolerance", "1e-3"}).real(toleranceOption, 0), 1e-3);
  for (const char *bad : {"-1", "inf", "nan", "x", ""})
    EXPECT_THAT(failure(parse({"--tolerance", bad}).real(toleranceOption, 0)),
                HasSubstr("not a number that is 0 or greater"));
}

TEST(CommandLine, MissingThings) {
  EXPECT_EQ(failure(parse({}).required(outOption)), "-o OUT is missing; see: plait help bake");
  EXPECT_EQ(failure(parse({}).operand("FILE")), "FILE is missing; see: plait help bake");
  EXPECT_EQ(failure(parse({"a", "b"}).operand("FILE")),
            "one FILE is wanted, and 'b' comes after 'a'; see: plait help bake");
  EXPECT_EQ(*parse({"a"}).operand("FILE"), "a");
}

TEST(CommandLine, Pairs) {
  auto pair = splitPair(functionOption, "a=b=c");
  ASSERT_TRUE(bool(pair));
  EXPECT_EQ(pair->first, "a");
  EXPECT_EQ(pair->second, "b=c");
  EXPECT_EQ(failure(splitPair(functionOption, "justname")),
            "--function justname: NAME=FILE is wanted");
  EXPECT_EQ(failure(splitPair(functionOption, "name=")), "--function name=: NAME=FILE is wanted");
}

TEST(CommandLine, Help) {
  std::string text;
  llvm::raw_string_ostream out(text);
  printHelp(command, out);
  EXPECT_EQ(text, R"(plait bake: bakes

usage: plait bake [options] FILE
       plait bake --function NAME=FILE ...

Options:
  -o OUT                      where to
  --function NAME=FILE        a function
  -i, --input TEXT            an input
  -q, --quiet                 no words
  --mode fast|slow            how
  --count N                   how many
  --tolerance X               how far

That is all.
)");
}

} // namespace
