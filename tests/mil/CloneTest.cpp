// Copies of functions, and borders of modules in them.
#include "mil/Clone.h"
#include "mil/Builder.h"
#include "mil/ModuleTree.h"
#include "mil/Parser.h"
#include "mil/Printer.h"
#include "mil/Verifier.h"

#include "llvm/Support/raw_ostream.h"

#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;

namespace {

std::string textOf(const Function &function) {
  std::string text;
  llvm::raw_string_ostream out(text);
  print(function, out);
  return text;
}

const char *const kLoop = R"(program(1.3)
{
    func main<ios18>(tensor<fp32, [2]> x) {
            tensor<int32, []> n = const()[name = string("n"), val = int32(0)];
            tensor<int32, []> i, tensor<fp32, [2]> y = while_loop(loop_vars = (n, x))[name = string("loop")] {
                block0(tensor<int32, []> k, tensor<fp32, [2]> v) {
                    tensor<int32, []> three = const()[name = string("three"), val = int32(3)];
                    tensor<bool, []> more = less(x = k, y = three)[name = string("more")];
                } -> (more);
                block1(tensor<int32, []> k2, tensor<fp32, [2]> v2) {
                    tensor<int32, []> one = const()[name = string("one"), val = int32(1)];
                    tensor<int32, []> next = add(x = k2, y = one)[name = string("next")];
                    tensor<fp32, [2]> sum = add(x = v2, y = x)[name = string("sum")];
                } -> (next, sum);
            };
        } -> (y);
}
)";

/// x through a linear layer whose weight is the parameter "proj.weight".
Function &makeLinear(Program &program) {
  Function &function = *program.addFunction("base");
  Value *x = function.addInput(Type::tensor(DType::F32, {1, 2}), "x");
  Builder builder(function.body());
  Value *weight = builder.constant(TensorData::from<float>(DType::F32, {3, 2}, {1, 2, 3, 4, 5, 6}));
  Op *in = builder.create(OpKind::identity, {{identity::x, x}});
  Value *y = builder.emit(OpKind::linear, {{linear::x, x}, {linear::weight, weight}});
  Op *out = builder.create(OpKind::identity, {{identity::x, y}});
  markBorder(*in, /*isInput=*/true, 4, 0);
  markBorder(*out, /*isInput=*/false, 4, 0);
  out->result()->name = "y";
  function.body().setOutputs({out->result()});
  return function;
}

TEST(Clone, CopiesBlocksAndNames) {
  auto program = parseProgram(kLoop);
  ASSERT_TRUE(bool(program)) << toString(program.takeError());
  Function &original = *(*program)->function("main");
  std::string before = textOf(original);
  Function *copy = cloneFunction(**program, original, "copy");
  EXPECT_FALSE(bool(verify(**program)));
  std::string after = textOf(*copy);
  EXPECT_EQ(after.replace(after.find("copy"), 4, "main"), before);
  EXPECT_EQ(copy->uniqueName("sum").str(), "sum_0");
  // It is changed without the original.
  (*program)->eraseFunction(copy);
  EXPECT_EQ(textOf(original), before);
}

TEST(Clone, GoesToAnotherProgram) {
  Program from, to;
  Function &base = makeLinear(from);
  Function *copy = cloneFunction(to, base, "adapted");
  from.eraseFunction(&base);
  EXPECT_EQ(copy->program(), &to);
  EXPECT_EQ(moduleCalls(*copy).size(), 1u);
}

TEST(Borders, AreFoundAndTakenOut) {
  Program program;
  Function &function = makeLinear(program);
  std::vector<ModuleCall> calls = moduleCalls(function);
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].module, 4u);
  ASSERT_TRUE(calls[0].input && calls[0].output);
  removeBorders(function);
  EXPECT_TRUE(moduleCalls(function).empty());
  // The interface's name goes to what the function returns now.
  EXPECT_TRUE(function.outputs()[0]->def()->is(OpKind::linear));
  EXPECT_EQ(function.outputs()[0]->name, "y");
  EXPECT_FALSE(bool(verify(program)));
}

TEST(Borders, StayWhereAnOutputIsAnInput) {
  Program program;
  Function &function = *program.addFunction("base");
  Value *x = function.addInput(Type::tensor(DType::F32, {1, 2}), "x");
  Builder builder(function.body());
  Op *out = builder.create(OpKind::identity, {{identity::x, x}});
  markBorder(*out, /*isInput=*/false, 0, 0);
  out->result()->name = "y";
  function.body().setOutputs({out->result()});
  removeBorders(function);
  EXPECT_TRUE(moduleCalls(function).empty());
  EXPECT_EQ(function.outputs()[0].get(), out->result());
  EXPECT_TRUE(out->attributes.empty());
}

TEST(ModuleTree, KnowsAllPaths) {
  ModuleTree tree;
  unsigned root = tree.addModule({}), part = tree.addModule({}), leaf = tree.addModule({});
  tree.addPath("", root);
  tree.addPath("a", part);
  tree.addPath("a.proj", leaf);
  tree.addPath("b", part);
  tree.addPath("b.proj", leaf);
  EXPECT_EQ(tree.find("b.proj"), leaf);
  EXPECT_EQ(tree.pathOf(leaf), "a.proj");
  EXPECT_FALSE(tree.find("c"));
  EXPECT_TRUE(tree.isIn("b.proj.inner", leaf));
  EXPECT_TRUE(tree.isIn("a.proj", part));
  EXPECT_TRUE(tree.isIn("a", root));
  EXPECT_FALSE(tree.isIn("a", leaf));
}

} // namespace
