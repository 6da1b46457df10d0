// Expressions of sizes, as PyTorch wrote them before and since 2.6.
#include "mil/SizeExpression.h"

#include "gmock/gmock.h"

using namespace plait;
using namespace plait::mil;
using testing::HasSubstr;

namespace {

std::string read(llvm::StringRef text) {
  auto dim = parseSize(text, [](llvm::StringRef name) -> std::optional<Dim> {
    if (name == "s0" || name == "s77")
      return Dim::symbol("n", 1, 100);
    if (name == "s1")
      return Dim::symbol("m", 0, 100);
    return std::nullopt;
  });
  return dim ? dim->str() : "error: " + llvm::toString(dim.takeError());
}

TEST(SizeExpression, Calls) {
  EXPECT_EQ(read("Symbol('s77', positive=True, integer=True)"), "n");
  EXPECT_EQ(read("Add(Mul(Integer(2), Symbol('s77', positive=True, integer=True)), Integer(1))"),
            "2*n + 1");
  EXPECT_EQ(read("Mul(Integer(-1), Symbol('s77'))"), "-n");
  EXPECT_EQ(read("FloorDiv(Symbol('s77'), Integer(2))"), "floordiv(n, 2)");
  EXPECT_EQ(read("Pow(Symbol('s77'), Integer(2))"), read("s0*s0"));
  EXPECT_EQ(read("Max(Integer(1), Symbol('s1'))"), read("Max(1, s1)"));
  EXPECT_EQ(read("ModularIndexing(Symbol('s77'), Integer(2), Integer(3))"), read("(s0//2) % 3"));
  EXPECT_EQ(read("Integer(7)"), "7");
}

TEST(SizeExpression, Formulas) {
  EXPECT_EQ(read("s0"), "n");
  EXPECT_EQ(read("2*s0 + 1"), "2*n + 1");
  EXPECT_EQ(read("-s0 + 3"), "-n + 3");
  EXPECT_EQ(read("s0**2"), read("s0 * s0"));
  EXPECT_EQ(read("(s0 + 1)//2"), "floordiv(n + 1, 2)");
  EXPECT_EQ(read("Mod(s0, 4)"), read("s0 % 4"));
}

TEST(SizeExpression, ReadsWhatDimPrints) {
  auto symbol = [](llvm::StringRef name) { return std::optional(Dim::symbol(name, 1, 100)); };
  Dim n = Dim::symbol("n", 1, 100), m = Dim::symbol("m", 1, 100);
  for (const Dim &dim : {n, n * 2 + 1, n * m - n * 3 + 7, floordiv(n + m, 2) * 4, floormod(n, m),
                         min(n * 2, m + 50), max(n, m) - 1, Dim(12)}) {
    auto again = parseSize(dim.str(), symbol);
    ASSERT_TRUE(bool(again)) << dim.str();
    EXPECT_EQ(*again, dim);
  }
}

TEST(SizeExpression, GrowNoFurther) {
  // Powers of powers and long products become a size that nothing is known of.
  std::string power = "s0", product = "s0";
  for (int i = 0; i < 12; ++i)
    power = "(" + power + " ** 8)";
  EXPECT_THAT(read(power), testing::StartsWith("?"));
  for (int i = 0; i < 1000; ++i)
    product += "*s0";
  EXPECT_THAT(read(product), testing::StartsWith("?"));
  for (int i = 0; i < 4000; ++i)
    product += " + s0";
  EXPECT_THAT(read(product), HasSubstr("too many terms"));
  EXPECT_LT(read(product).size(), 300u);
  EXPECT_EQ(read("(0 - 9223372036854775807) * 2 + (s0 - s0)"), "-9223372036854775808");
}

TEST(SizeExpression, Refusals) {
  EXPECT_THAT(read(""), HasSubstr("a size is missing"));
  EXPECT_THAT(read("2 +"), HasSubstr("a size is missing"));
  EXPECT_THAT(read("u0"), HasSubstr("nothing is known of 'u0'"));
  EXPECT_THAT(read("s0 s0"), HasSubstr("something follows"));
  EXPECT_THAT(read("FloorDiv(s0, s1)"), HasSubstr("a divisor may be zero"));
  EXPECT_THAT(read("FloorDiv(s0)"), HasSubstr("no sizes of the form FloorDiv"));
  EXPECT_THAT(read("FloatTrueDiv(s0, Integer(2))"), HasSubstr("FloatTrueDiv"));
  EXPECT_THAT(read("s0 ** s1"), HasSubstr("an exponent"));
  EXPECT_THAT(read("Symbol('7')"), HasSubstr("'7' is no name of a symbol"));
  EXPECT_THAT(read("Symbol('a b')"), HasSubstr("no name of a symbol"));
  EXPECT_THAT(read("1.5"), HasSubstr("no integer"));
  EXPECT_THAT(read("99999999999999999999"), HasSubstr("no integer"));
  EXPECT_THAT(read(std::string(10000, '(')), HasSubstr("nested too deeply"));
  EXPECT_THAT(read(std::string(10000, '-')), HasSubstr("nested too deeply"));
}

TEST(SizeExpression, Names) {
  EXPECT_EQ(symbolName("Symbol('s77', positive=True, integer=True)"), "s77");
  EXPECT_EQ(symbolName("s0"), "s0");
  EXPECT_EQ(symbolName("2*s0"), "");
  EXPECT_EQ(symbolName("s0 + s1"), "");
  EXPECT_EQ(symbolName("nonsense("), "");
}

} // namespace
