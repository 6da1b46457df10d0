// What stands behind an operation that cannot be lowered is reported in the same message, each
// thing once, and nothing that follows from it alone. The operators are made here: no lowering of
// them will ever exist.
#include "frontend/script/GraphWalk.h"
#include "mil/Verifier.h"
#include "support/Error.h"
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>
#include <torch/library.h>
#include <torch/script.h>

using namespace plait::frontend;
using testing::HasSubstr;

namespace {

at::Tensor same(const at::Tensor &x) { return x.clone(); }
at::Tensor &sameInPlace(at::Tensor &x) { return x; }
at::Tensor &sameOut(const at::Tensor &x, at::Tensor &out) { return out.copy_(x); }
at::Tensor half(const at::Tensor &x) { return x.slice(0, 0, x.size(0) / 2).clone(); }
std::tuple<at::Tensor, std::vector<at::Tensor>> parts(const at::Tensor &x) {
  return {x.sum(), x.unbind(0)};
}
at::Tensor some(const at::Tensor &x) { return x.slice(0, 0, 2).clone(); }

TORCH_LIBRARY_FRAGMENT(aten, m) {
  m.def("plait_a(Tensor x) -> Tensor");
  m.def("plait_b(Tensor x) -> Tensor");
  m.def("plait_b_(Tensor(a!) x) -> Tensor(a!)");
  m.def("plait_b.out(Tensor x, *, Tensor(a!) out) -> Tensor(a!)");
  m.def("plait_c(Tensor x) -> Tensor");
  m.def("plait_half(Tensor x) -> Tensor");
  m.def("plait_parts(Tensor x) -> (Tensor, Tensor[])");
  m.def("plait_complex(Tensor x) -> Tensor");
  m.def("plait_count(Tensor x) -> int");
  m.def("plait_some(Tensor x) -> Tensor", {at::Tag::dynamic_output_shape});
  m.def("plait_never(Tensor x) -> Tensor");
}
TORCH_LIBRARY_IMPL(aten, CompositeExplicitAutograd, m) {
  m.impl("plait_a", same);
  m.impl("plait_b", same);
  m.impl("plait_b_", sameInPlace);
  m.impl("plait_b.out", sameOut);
  m.impl("plait_half", half);
  m.impl("plait_parts", parts);
  m.impl("plait_some", some);
  m.impl("plait_complex", [](const at::Tensor &x) { return x.to(at::kComplexFloat); });
  m.impl("plait_count", [](const at::Tensor &x) { return x.size(0); });
  m.impl("plait_never", [](const at::Tensor &x) -> at::Tensor { TORCH_CHECK(false, "never"); });
}
TORCH_LIBRARY_IMPL(aten, CPU, m) { m.impl("plait_c", same); } // none for the device `meta`

/// What a message says: "a x2, c" for two uses of plait_a and one of plait_c; then "; N others".
std::string said(const std::string &message) {
  std::string found;
  unsigned others = 0;
  llvm::SmallVector<llvm::StringRef> lines;
  llvm::StringRef(message).split(lines, '\n', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef line : lines) {
    if (line.consume_front("  aten::plait_")) {
      auto [name, uses] = line.split(" (");
      found += (found.empty() ? "" : ", ") + name.str();
      if (!uses.starts_with("1 "))
        found += " x" + uses.take_until([](char c) { return c == ' '; }).str();
    } else {
      others += !line.ends_with("not supported:") && !line.starts_with("rewrite the model");
    }
  }
  return others ? found + "; " + std::to_string(others) + " others" : found;
}
std::string said(const std::string &source, std::vector<at::Tensor> inputs) {
  std::string message = refusal(source, std::move(inputs));
  return llvm::StringRef(message).starts_with("LibTorch") ? message : said(message);
}

TEST(BehindUnsupported, AChain) {
  EXPECT_EQ(said("torch.plait_b(torch.plait_a(x)) + torch.plait_c(torch.plait_b(x) * x)",
                 {randn({3, 3})}),
            "a, b x2, c");
}

TEST(BehindUnsupported, ShapesAreLibTorchs) {
  // They are right, so that what is refused behind them is refused for its own reason.
  std::string message = refusal("torch.plait_half(x).view(5, 2)", {randn({4, 3})});
  EXPECT_EQ(said(message), "half; 1 others");
  EXPECT_THAT(message, HasSubstr("view"));
  EXPECT_EQ(said("torch.plait_half(x).reshape(3, 2) @ torch.ones(2, 4)", {randn({4, 3})}), "half");
  // And decide what follows; no kernel for `meta` is needed.
  std::string source = forward("  y = torch.plait_half(torch.plait_c(x))\n"
                               "  if y.size(0) == 2:\n"
                               "    return torch.plait_a(y)\n"
                               "  return torch.plait_b(y)\n");
  EXPECT_EQ(said(source, {randn({4, 3})}), "c, half, a");
  EXPECT_EQ(said(source, {randn({6, 3})}), "c, half, b");
}

TEST(BehindUnsupported, RangedSizes) {
  auto message = [](const char *body) {
    return refusal(forward(body), {randn({4, 3})}, {.dynamic = {0}});
  };
  EXPECT_EQ(said(message("  y = torch.plait_a(x)\n"
                         "  return torch.plait_b(y + x) * torch.plait_c(y.view(-1, 3, 1))\n")),
            "a, b, c");
  // What only follows from sizes that were tried out is not said.
  EXPECT_EQ(said(message("  return torch.plait_b(torch.plait_half(x).view(7, 1))\n")), "half, b");
}

TEST(BehindUnsupported, NumbersAndLists) {
  EXPECT_EQ(
      said(forward("  s, rows = torch.plait_parts(x)\n"
                   "  a, b, c = rows\n"
                   "  return torch.plait_a(a * b[:2].sum() + torch.stack(rows)[0] + c + s)\n"),
           {randn({3, 3})}),
      "parts, a");
  EXPECT_EQ(said("torch.plait_a(x * torch.plait_count(x))", {randn({3, 3})}), "count, a");
}

TEST(BehindUnsupported, ComplexTensors) {
  EXPECT_EQ(said("torch.plait_a(torch.abs(torch.plait_complex(x) * 2)) + "
                 "torch.plait_b(torch.plait_complex(x).t()).sum()",
                 {randn({3, 2})}),
            "complex x2, a, b");
}

TEST(BehindUnsupported, NoShapeAtAll) {
  // Other operators are still reported; what has a lowering is taken to be right.
  EXPECT_EQ(said("torch.plait_a(torch.relu(torch.plait_never(x).view(7))) + torch.plait_b(x)",
                 {randn({3, 3})}),
            "never, a, b");
}

TEST(BehindUnsupported, InSubmodules) {
  torch::jit::Module inner("inner"), outer("outer");
  inner.define(forward("  return torch.plait_b(torch.plait_a(x))\n"));
  outer.register_module("inner", inner);
  outer.define(forward("  return torch.plait_c(self.inner.forward(torch.plait_a(x)))\n"));
  plait::mil::Program program;
  plait::mil::Function *function = program.addFunction("main");
  Engine engine(*function, {});
  Val x = engine.makeTensor(
      function->addInput(plait::mil::Type::tensor(plait::mil::DType::F32, {plait::mil::Dim(3)}),
                         "x"),
      at::kFloat);
  GraphWalk(engine, {}).run(outer._ivalue(), outer.get_method("forward").function(), {x});
  std::string message = llvm::toString(engine.takeError());
  EXPECT_EQ(said(message), "a x2, b, c");
  EXPECT_THAT(message, HasSubstr("aten::plait_b (1 use), first in module 'inner'"));
}

TEST(BehindUnsupported, InBranches) {
  EXPECT_EQ(said(forward("  if bool(torch.plait_a(x).sum() > 0):\n"
                         "    y = torch.plait_b(x)\n"
                         "  else:\n"
                         "    y = torch.plait_c(x) * x\n"
                         "  return torch.plait_half(y)\n"),
                 {randn({3, 3})}),
            "a, b, c, half");
}

TEST(BehindUnsupported, InLoops) {
  // Turns that are known are counted.
  EXPECT_EQ(said(forward("  for i in range(3):\n"
                         "    x = torch.plait_a(x) * i\n"
                         "  return torch.plait_b(x)\n"),
                 {randn({3, 3})}),
            "a x3, b");
  // Of others there is one; what they write is written.
  EXPECT_EQ(said(forward("  log = torch.zeros(3, 3)\n"
                         "  for i in range(int(x.sum())):\n"
                         "    x = torch.plait_a(x) * i\n"
                         "    log.add_(torch.plait_b(x))\n"
                         "  return torch.plait_c(x) + torch.plait_half(log).sum()\n"),
                 {randn({3, 3})}),
            "a, b, c, half");
  // A number of turns that an unsupported operator decides.
  EXPECT_EQ(said(forward("  n = int(torch.plait_a(x).sum())\n"
                         "  y = x\n"
                         "  while n > 0:\n"
                         "    y = torch.plait_b(y)\n"
                         "    n -= 1\n"
                         "  return torch.plait_c(y)\n"),
                 {randn({3, 3})}),
            "a, b, c");
  EXPECT_EQ(said(forward("  y = x\n"
                         "  for i in range(torch.plait_never(x).size(0)):\n"
                         "    y = torch.plait_b(y[i])\n"
                         "  return torch.plait_c(y)\n"),
                 {randn({3, 3})}),
            "never, b, c");
}

TEST(BehindUnsupported, SizesThatTheElementsDecide) {
  EXPECT_EQ(said(forward("  y = torch.plait_some(x)\n"
                         "  z = y.view(2, 2) @ torch.ones(2, 2)\n"
                         "  assert y.size(0) == 4, 'four are needed'\n"
                         "  return torch.plait_a(z)\n"),
                 {randn({4})}),
            "some, a");
}

TEST(BehindUnsupported, WritesInPlace) {
  EXPECT_EQ(said(forward("  y = x.clone()\n"
                         "  torch.plait_b(x, out=y)\n"
                         "  y[0] = torch.plait_a(y).sum()\n"
                         "  return torch.plait_c(torch.plait_b_(y.relu_()))\n"),
                 {randn({3, 3})}),
            "b x2, a, c");
  // What a known tensor holds after a write that could not be lowered is not known.
  EXPECT_EQ(said(forward("  mask = torch.zeros(3)\n"
                         "  mask[0] = torch.plait_a(x).sum()\n"
                         "  if bool(mask[0] > 0):\n"
                         "    return torch.plait_b(x)\n"
                         "  return torch.plait_c(x)\n"),
                 {randn({3, 3})}),
            "a, b, c");
}

TEST(BehindRefused, GoesOnToo) {
  std::string message = refusal("torch.plait_a(x.unsqueeze(int(x.sum())).sum() * x) * "
                                "torch.plait_b(torch.bitwise_left_shift(torch.plait_a(x), x))",
                                {randn({3, 3})});
  EXPECT_THAT(message, HasSubstr("known"));
  EXPECT_THAT(said(message), testing::StartsWith("a x2, b"));
}

TEST(BehindUnsupported, NothingIsLeftToBeWritten) {
  torch::jit::Module module("m");
  module.define(forward("  return torch.plait_a(x) * torch.relu(x)\n"));
  plait::mil::Program program;
  plait::mil::Function *function = program.addFunction("main");
  plait::mil::Value *input = function->addInput(
      plait::mil::Type::tensor(plait::mil::DType::F32, {plait::mil::Dim(3), plait::mil::Dim(3)}),
      "x");
  Engine engine(*function, {});
  Val result = GraphWalk(engine, {})
                   .run(module._ivalue(), module.get_method("forward").function(),
                        {engine.makeTensor(input, at::kFloat)});
  // The walk came to its end, with a tensor of the right shape.
  ASSERT_TRUE(result.isTensor());
  EXPECT_EQ(plait::mil::str(result.tensor()->shape), "[3, 3]");
  // What computes it is no program: it takes a value that nothing defines.
  function->body().setOutputs({engine.read(*result.tensor())});
  EXPECT_THAT(llvm::toString(plait::mil::verify(program)), HasSubstr("unknown"));
  EXPECT_THAT(llvm::toString(engine.takeError()), HasSubstr("plait_a"));
  EXPECT_TRUE(function->body().empty());
  EXPECT_TRUE(function->outputs().empty());
}

} // namespace
