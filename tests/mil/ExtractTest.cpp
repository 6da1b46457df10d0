// Operations cut out of programs: what comes along, what becomes an input, and what is refused.
#include "mil/Extract.h"
#include "mil/Parser.h"
#include "mil/Printer.h"
#include "mil/StandIn.h"
#include "mil/Verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;
using testing::HasSubstr;
using testing::Not;

namespace {

std::unique_ptr<Program> parse(const std::string &text) {
  ParseOptions options;
  options.blob = standIn;
  auto program = parseProgram(text, options);
  EXPECT_TRUE(bool(program)) << (program ? "" : llvm::toString(program.takeError()));
  return program ? std::move(*program) : nullptr;
}

std::string print(const Program &program) {
  PrintOptions options;
  options.symbols = true;
  options.readable = true;
  options.digests = false;
  options.blob = standInPlaces();
  return toString(program, options);
}

/// The text of what is cut out of `text`; it must verify and read back as the same.
std::string cut(const std::string &text, const ExtractOptions &options) {
  auto program = parse(text);
  auto result = extract(*program, options);
  if (!result)
    return llvm::toString(result.takeError());
  EXPECT_EQ(llvm::toString(verify(**result)), "");
  std::string printed = print(**result);
  auto again = parse(printed);
  EXPECT_EQ(llvm::toString(verify(*again)), "");
  EXPECT_EQ(print(*again), printed);
  return printed;
}

const std::string branch = R"(program(1.3)
{
    func main<ios18>(tensor<fp32, [1, 3]> x) {
        tensor<fp32, [1, 2]> h = linear(x = x, weight = tensor<fp32, [2, 3]>([[1, 2, 3], [4, 5, 6]]), bias = tensor<fp32, [2]>([0, 0]));
        tensor<fp32, [1, 3]> d = linear(x = h, weight = tensor<fp32, [3, 2]>([[1, 0], [0, 1], [0.5, 0.25]]), bias = tensor<fp32, [3]>([0, 0, 1e-05]));
        tensor<fp32, [1, 3]> y = add(x = x, y = d);
    } -> (y);
}
)";

TEST(Extract, TakesConstantsAlongAndMakesInputsOfTheRest) {
  EXPECT_EQ(cut(branch, {"d"}), R"(program(1.3)
{
    func main<ios18>(tensor<fp32, [1, 2]> h) {
        tensor<fp32, [1, 3]> d = linear(x = h, weight = tensor<fp32, [3, 2]>([[1, 0], [0, 1], [0.5, 0.25]]), bias = tensor<fp32, [3]>([0, 0, 1e-05]));
    } -> (d);
}
)");
}

TEST(Extract, DepthTakesPredecessorsAlong) {
  EXPECT_THAT(cut(branch, {"y"}), HasSubstr("func main<ios18>(tensor<fp32, [1, 3]> x, "
                                            "tensor<fp32, [1, 3]> d) {\n        tensor<fp32, [1, "
                                            "3]> y = add("));
  std::string one = cut(branch, {"y", 1});
  EXPECT_THAT(one, HasSubstr("(tensor<fp32, [1, 2]> h, tensor<fp32, [1, 3]> x)"));
  EXPECT_THAT(one, Not(HasSubstr("h = linear")));
  EXPECT_EQ(cut(branch, {"y", 2}), branch);
  EXPECT_EQ(cut(branch, {"y", 9}), branch);
}

TEST(Extract, LargeConstantsBecomeStandIns) {
  std::string text = R"(program(1.3)
{
    func main<ios18>(tensor<fp32, [1, 64]> x) {
        tensor<fp32, [9, 64]> w = const()[val = tensor<fp32, [9, 64]>(BLOBFILE(path = string("weight.bin"), offset = uint64(640)))];
        tensor<fp32, [9]> b = const()[val = tensor<fp32, [9]>([0, 0, 0, 0, 0, 0, 0, 0, 0])];
        tensor<fp32, [1, 9]> y = linear(x = x, weight = w, bias = b);
        tensor<fp32, [1, 9]> z = linear(x = x, weight = w, bias = b);
        tensor<fp32, [1, 9]> r = add(x = y, y = z);
    } -> (r);
}
)";
  std::string both = cut(text, {"r", 1});
  EXPECT_THAT(both, HasSubstr("w = const()[val = tensor<fp32, [9, 64]>("
                              "BLOBFILE(path = string(\"@stand_in\"), offset = uint64(1)))];"));
  EXPECT_THAT(cut(text, {"y"}),
              HasSubstr("linear(x = x, weight = tensor<fp32, [9, 64]>(BLOBFILE("));
}

TEST(Extract, NestedBlocksComeWhole) {
  std::string text = R"(program(1.3)
{
    func main<ios18>(tensor<fp32, [2]> x, bool p) {
        tensor<fp32, [2]> r = relu(x = x);
        tensor<fp32, [2]> y = cond(pred = p) { then() { tensor<fp32, [2]> a = tanh(x = r); } -> (a); otherwise() { tensor<fp32, [2]> c = add(x = r, y = fp32(2)); } -> (c); };
    } -> (y);
}
)";
  std::string whole = cut(text, {"y"});
  EXPECT_THAT(whole, HasSubstr("func main<ios18>(bool p, tensor<fp32, [2]> r)"));
  EXPECT_THAT(whole, HasSubstr("a = tanh(x = r)"));
  EXPECT_THAT(whole, HasSubstr("c = add(x = r, y = fp32(2))"));
  // What is inside stands alone, with the operation outside that computes its operand.
  EXPECT_THAT(cut(text, {"c"}), HasSubstr("(tensor<fp32, [2]> r) {\n        tensor<fp32, [2]> c"));
  EXPECT_THAT(cut(text, {"c", 1}), HasSubstr("r = relu(x = x)"));
}

TEST(Extract, StatesListsAndCompressedWeights) {
  std::string state = R"(program(1.3)
{
    func main<ios18>(tensor<fp16, [2]> x, state<tensor<fp16, [2]>> cache) {
        tensor<fp16, [2]> r = read_state(input = cache);
        tensor<fp16, [2]> y = add(x = r, y = x);
    } -> (y);
}
)";
  EXPECT_THAT(cut(state, {"r"}), HasSubstr("main<ios18>(state<tensor<fp16, [2]>> cache)"));
  std::string list = R"(program(1.3)
{
    func main<ios18>(tensor<fp32, [2]> x) {
        list<tensor<fp32, [2]>, 4> l = make_list(init_length = int32(4), dynamic_length = bool(false), elem_shape = (int32(2)), dtype = string("fp32"));
        list<tensor<fp32, [2]>, 4> m = list_write(ls = l, index = int32(0), value = x);
        tensor<fp32, [2]> y = list_read(ls = m, index = int32(0));
    } -> (y);
}
)";
  std::string read = cut(list, {"y"});
  EXPECT_THAT(read, HasSubstr("m = list_write(ls = l, index = int32(0), value = x)"));
  EXPECT_THAT(read, HasSubstr("l = make_list("));
  std::string compressed = R"(program(1.3)
{
    func main<ios18>(tensor<fp16, [1, 2]> x) {
        tensor<fp16, [2, 2]> w = constexpr_blockwise_shift_scale(data = tensor<int8, [2, 2]>([[1, 2], [3, 4]]), scale = tensor<fp16, [2, 1]>([[0.5], [0.25]]));
        tensor<fp16, [1, 2]> y = linear(x = x, weight = w, bias = tensor<fp16, [2]>([0, 0]));
    } -> (y);
}
)";
  EXPECT_EQ(cut(compressed, {"y"}), compressed);
}

TEST(Extract, DynamicInputsKeepTheirShapes) {
  std::string text = R"(program(1.3)
{
    func main<ios18>(tensor<fp32, [n, 2]> x) [FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>>((("DefaultShapes", {{"x", [1, 2]}}), ("RangeDims", {{"x", [[1, 8], [2, 2]]}})))] {
        tensor<fp32, [n, 2]> r = relu(x = x);
        tensor<fp32, [n, 2]> y = tanh(x = r);
    } -> (y);
}
)";
  EXPECT_THAT(cut(text, {"r"}), HasSubstr("\"RangeDims\", {{\"x\", [[1, 8], [2, 2]]}}"));
  EXPECT_THAT(cut(text, {"y"}), HasSubstr("main<ios18>(tensor<fp32, [n, 2]> r)"));
}

TEST(Extract, Refusals) {
  EXPECT_EQ(cut(branch, {"x"}), "'x' is an input; name a value that an operation computes");
  EXPECT_EQ(cut(branch, {"q"}),
            "'q' is no value of the program; name a value that an operation computes");
  EXPECT_EQ(cut(branch, {"weight"}),
            "'weight' is a constant; name a value that an operation computes");
  EXPECT_EQ(cut(branch, {"y", 0, "other"}), "there is no function 'other'; there are main");
  std::string two = branch;
  size_t begin = two.find("    func"), end = two.rfind('}');
  std::string second = two.substr(begin, end - begin);
  second.replace(second.find("main"), 4, "side");
  two.insert(end, second);
  EXPECT_EQ(cut(two, {"y"}), "several functions have a value 'y': main, side; say which one");
  EXPECT_THAT(cut(two, {"y", 0, "side"}), HasSubstr("y = add(x = x, y = d)"));
}

TEST(StandIn, ContentsFollowFromPathOffsetAndType) {
  auto values = [](llvm::StringRef path, uint64_t offset) {
    auto data = standIn(path, offset, Type::tensor(DType::F32, llvm::ArrayRef<int64_t>{8, 100}));
    return llvm::cantFail(llvm::cantFail(std::move(data)).floatValues());
  };
  std::vector<double> one = values("a", 1);
  EXPECT_EQ(one, values("a", 1));
  EXPECT_NE(one, values("a", 2));
  EXPECT_NE(one, values("b", 1));
  double sum = 0, squares = 0;
  for (double value : one)
    sum += value, squares += value * value;
  EXPECT_LT(std::abs(sum / one.size()), 0.03);
  EXPECT_NEAR(std::sqrt(squares / one.size()), 1.0 / 7, 0.02);
  auto indices = standIn("a", 1, Type::tensor(DType::I32, llvm::ArrayRef<int64_t>{100}));
  for (int64_t index : llvm::cantFail(llvm::cantFail(std::move(indices)).intValues()))
    EXPECT_EQ(index, 0);
  EXPECT_FALSE(bool(llvm::errorToBool(
      standIn("a", 1, Type::tensor(DType::U4, llvm::ArrayRef<int64_t>{9})).takeError())));
}

} // namespace
