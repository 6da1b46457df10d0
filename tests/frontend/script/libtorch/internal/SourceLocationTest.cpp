// Locations of graph nodes: scripted and traced sources, in both forms of the debug pickle.
#include "frontend/script/libtorch/internal/DebugRanges.h"
#include "tests/frontend/script/libtorch/ModelFiles.h"
#include "torch/csrc/jit/serialization/pickle.h"

using namespace plait;
using namespace plait::test;
using c10::IValue;
using c10::ivalue::Tuple;
using torch::jit::Source;
using torch::jit::SourceRange;

namespace {

/// A code file whose debug pickle is `table`.
std::shared_ptr<Source> codeWith(const IValue &table) {
  std::vector<char> bytes = torch::jit::pickle(table);
  auto ranges = std::make_shared<libtorch::DebugRanges>(
      [text = std::string(bytes.begin(), bytes.end())] { return std::optional(text); });
  return std::make_shared<Source>("class M(Module):\n  def forward(self):\n    return relu(x)\n",
                                  "code/__torch__.py", 1, ranges);
}

std::string locationOf(const std::shared_ptr<Source> &source, size_t offset) {
  auto location = libtorch::locateRange(SourceRange(source, offset, offset + 1));
  return location ? location->str() : "";
}

const std::string stack = "/env/site-packages/torch/nn/modules/linear.py(125): forward\n"
                          "/env/site-packages/torch/nn/modules/module.py(1768): _slow_forward\n"
                          "/home/me/my model.py(12): encode (v2)\n"
                          "/home/me/train.py(80): <module>\n";
const std::string function = "    def double(self, x):\n        y = x + x\n        return y\n";

/// (text, file, line) as the old format has it.
IValue source(const std::string &text, IValue file, int64_t line) {
  return Tuple::create({IValue(text), std::move(file), IValue(line)});
}

IValue row(int64_t offset, IValue source, int64_t begin, int64_t end) {
  return Tuple::create(
      {IValue(offset), Tuple::create({std::move(source), begin, end}), IValue(-1)});
}

TEST(SourceLocation, ReadsTheOldFormat) {
  size_t sum = function.find("x + x");
  auto code = codeWith(Tuple::create(
      {row(0, source("", IValue(), 0), 0, 0),
       row(10, source(function, IValue(std::string("/home/me/model.py")), 40), sum, sum + 5),
       row(20, source(stack, IValue(), 0), 0, stack.size())}));
  EXPECT_EQ(locationOf(code, 5), "code/__torch__.py:1: class M(Module):");
  EXPECT_EQ(locationOf(code, 10), "/home/me/model.py:41 in double: y = x + x");
  EXPECT_EQ(locationOf(code, 19), "/home/me/model.py:41 in double: y = x + x");
  EXPECT_EQ(locationOf(code, 50), "/home/me/my model.py:12 in encode (v2)");
}

TEST(SourceLocation, ReadsTheStringTableFormat) {
  auto strings = Tuple::create(
      {IValue(std::string("")), IValue(std::string("    def double(self, x):\n")),
       IValue(std::string("        return x + x\n")), IValue(std::string("/home/me/model.py"))});
  IValue text = c10::List<int64_t>({1, 2});
  auto rows = Tuple::create({row(0, Tuple::create({text, IValue(3), IValue(7)}), 40, 45)});
  auto code =
      codeWith(Tuple::create({IValue(std::string("FORMAT_WITH_STRING_TABLE")), strings, rows}));
  EXPECT_EQ(locationOf(code, 5), "/home/me/model.py:8 in double: return x + x");
}

TEST(SourceLocation, ShowsAFrameInTorchOnlyIfThereIsNoOther) {
  auto code = codeWith(
      Tuple::create({row(0, source(stack.substr(0, stack.find('\n') + 1), IValue(), 0), 0, 10)}));
  EXPECT_EQ(locationOf(code, 5), "/env/site-packages/torch/nn/modules/linear.py:125 in forward");
}

TEST(SourceLocation, FallsBackToTheCodeFile) {
  std::string expected = "code/__torch__.py:3 in forward: return relu(x)";
  EXPECT_EQ(locationOf(codeWith(Tuple::create(std::vector<IValue>{})), 55), expected);
  EXPECT_EQ(locationOf(codeWith(IValue(3)), 55), expected) << "not a table";
  EXPECT_EQ(locationOf(codeWith(Tuple::create({IValue(1), IValue(2)})), 55), expected);
  auto wild =
      Tuple::create({row(0, source("def f():", IValue(std::string("f.py")), 1), -5, 1 << 30)});
  EXPECT_EQ(locationOf(codeWith(wild), 55), "f.py:1: def f():") << "offsets out of the text";
  auto silent = std::make_shared<Source>("a = b\n", "code/a.py", 1, nullptr);
  EXPECT_EQ(locationOf(silent, 2), "code/a.py:1: a = b");
  EXPECT_FALSE(libtorch::locateRange(SourceRange()).has_value());
}

class NodeLocation : public TemporaryFolder {};

TEST_F(NodeLocation, OfAScriptedModel) {
  auto found = locationsInAScriptedModel(pathOf("model.pt"));
  EXPECT_EQ(found["aten::relu"], "<string>:2 in forward: y = torch.relu(x)");
  EXPECT_EQ(found["aten::sigmoid"], "<string>:3 in forward: return torch.sigmoid(y)");
}

} // namespace
