// Sizes that inputs have in common: where a symbol is read off, and calls that disagree.
#include "mil/InputSizes.h"

#include "gmock/gmock.h"

using namespace plait;
using namespace plait::mil;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

TEST(LinearSize, Forms) {
  Dim n = Dim::symbol("n", 2, 64), m = Dim::symbol("m", 2, 64);
  auto form = linearSize(n * 3 - 2);
  ASSERT_TRUE(form);
  EXPECT_EQ(form->symbol, "n");
  EXPECT_EQ(form->factor, 3);
  EXPECT_EQ(form->offset, -2);
  EXPECT_TRUE(linearSize(n)->isBare());
  for (const Dim &other :
       {Dim(3), n * m, n + m, Dim(8) - n, floordiv(n, 2), n * (int64_t(1) << 40)})
    EXPECT_FALSE(linearSize(other)) << other.str();
}

TEST(LinearSize, Solutions) {
  LinearSize form{"n", 3, -2}; // 3*n - 2
  EXPECT_EQ(form.solve(7), 3);
  EXPECT_EQ(form.solve(8), std::nullopt);
  EXPECT_EQ(form.solve(INT64_MAX), std::nullopt);
  EXPECT_EQ(form.solve(5, 9), std::pair(int64_t(3), int64_t(3)));
  EXPECT_EQ(form.solve(5, 6), std::nullopt);
  EXPECT_EQ(form.solve(4, INT64_MAX), std::pair(int64_t(2), INT64_MAX));
  EXPECT_EQ(form.solve(INT64_MIN, 0), std::pair(int64_t(INT64_MIN) / 3, int64_t(0)));
}

class InputSizes : public testing::Test {
protected:
  Value *input(const char *name, llvm::ArrayRef<Dim> shape) {
    return function.addInput(Type::tensor(DType::F32, shape), name);
  }
  std::string
  check(std::initializer_list<std::pair<Value *, llvm::SmallVector<int64_t, 5>>> given) {
    std::map<const Value *, llvm::SmallVector<int64_t, 5>> shapes;
    for (const auto &[value, shape] : given)
      shapes[value] = shape;
    Error error = checkInputSizes(function, shapes);
    return error ? llvm::toString(std::move(error)) : "";
  }

  Program program;
  Function &function = *program.addFunction("main", Opset::iOS18);
  Dim n = Dim::symbol("n", 2, 64), m = Dim::symbol("m", 1, 8);
};

TEST_F(InputSizes, AreChecked) {
  Value *y = input("y", {n * 2 + 1, m}), *x = input("x", {1, n}), *z = input("z", {n, n * m});
  EXPECT_EQ(check({{y, {7, 2}}, {x, {1, 3}}, {z, {3, 6}}}), "");
  EXPECT_THAT(check({{y, {8, 2}}, {x, {1, 3}}, {z, {3, 6}}}),
              HasSubstr("input 'y' has shape [8, 2] where the function takes [2*n + 1, m]: input "
                        "'x' has n = 3, so that 2*n + 1 is 7"));
  EXPECT_THAT(check({{y, {7, 2}}, {x, {1, 3}}, {z, {4, 6}}}),
              HasSubstr("input 'z' has shape [4, 6] where the function takes [n, m*n]: input 'x' "
                        "has n = 3"));
  EXPECT_THAT(check({{y, {7, 2}}, {x, {1, 3}}, {z, {3, 7}}}),
              HasSubstr("input 'y' has m = 2 and input 'x' has n = 3, so that m*n is 6"));
  // What is not given is not looked at.
  EXPECT_EQ(check({{y, {7, 2}}, {x, {1, 3}}}), "");
}

TEST_F(InputSizes, OfSymbolsThatNoDimensionIs) {
  Value *x = input("x", {n * 2}), *y = input("y", {n * 3});
  EXPECT_EQ(check({{x, {8}}, {y, {12}}}), "");
  EXPECT_THAT(check({{x, {8}}, {y, {13}}}), HasSubstr("input 'x' has n = 4, so that 3*n is 12"));
  EXPECT_THAT(check({{x, {7}}, {y, {12}}}), HasSubstr("7 is no 2*n"));
  auto source = sourceOfSize(function, "n");
  ASSERT_TRUE(source);
  EXPECT_EQ(source->input, x);
  EXPECT_FALSE(sourceOfSize(function, "m"));
  Builder builder(function.body());
  EXPECT_TRUE(sizeFrom(builder, *source)->def()->is(OpKind::floor_div));
  // A dimension that is the symbol is better.
  Value *z = input("z", {1, n});
  EXPECT_EQ(sourceOfSize(function, "n")->input, z);
}

TEST_F(InputSizes, AreChosenTogether) {
  input("y", {n * 2 + 1, m});
  input("x", {4, n, n * m});
  auto largest = inputShapes(function, [](int64_t, int64_t upper) { return upper; });
  EXPECT_THAT(largest[0], ElementsAre(129, 8));
  EXPECT_THAT(largest[1], ElementsAre(4, 64, 512));
  auto least = inputShapes(function, [](int64_t lower, int64_t) { return lower; });
  EXPECT_THAT(least[0], ElementsAre(5, 1));
}

} // namespace
