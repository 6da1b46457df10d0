// if, for and while: decided while compiling, or lowered to cond and while_loop with all that they
// change.
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

using namespace plait::frontend;

namespace {

at::Tensor positive() { return rand({3, 4}, 0.5, 1); }
at::Tensor negative() { return rand({3, 4}, -1, -0.5); }

/// Both ways through an if.
void checkBoth(const std::string &source) {
  check(source, {positive()});
  check(source, {negative()});
}

TEST(If, DecidedByShapes) {
  check(forward("  if x.size(0) > 2:\n    return x + 1\n  return x - 1\n"), {randn({3, 4})});
  check(forward("  if x.dim() == 3:\n    y = x[0]\n  else:\n    y = x\n  return y * 2\n"),
        {randn({3, 4})});
}

TEST(If, UndecidedGivesValues) {
  checkBoth(
      forward("  if bool(x.sum() > 0):\n    y = x * 2\n  else:\n    y = x - 3\n  return y\n"));
  checkBoth(forward(
      "  k = 1\n  s = 0.5\n  if bool(x.sum() > 0):\n    k = 3\n    s = 2.0\n  return x * k + s\n"));
}

TEST(If, UndecidedReturns) {
  checkBoth(forward("  if bool(x.sum() > 0):\n    return x.relu()\n  return -x\n"));
}

TEST(If, UndecidedWritesAreMerged) {
  checkBoth(forward("  y = x.clone()\n  v = y[1]\n  if bool(x.sum() > 0):\n    v.add_(10)\n  "
                    "else:\n    y.mul_(2)\n  return y, v\n"));
  checkBoth(
      forward("  y = torch.zeros([3, 4])\n  if bool(x.sum() > 0):\n    y[0] = x[1]\n  return y\n"));
}

TEST(If, UndecidedListsAreMerged) {
  checkBoth(forward(
      "  l = [x, x * 2]\n  if bool(x.sum() > 0):\n    l[0] = x + 5\n  return l[0] - l[1]\n"));
}

TEST(If, Nested) {
  checkBoth(forward("  y = x\n  if bool(x.sum() > 0):\n    if bool(x.max() > 100):\n      y = y * "
                    "3\n    else:\n      y = y * 4\n"
                    "  else:\n    y = y + 1\n  return y\n"));
}

TEST(If, BranchThatRaisesIsUnreachable) {
  check(forward("  assert bool(x.sum() < 1000), 'too large'\n  return x * 2\n"), {randn({3, 4})});
}

/// The tensors that these give may be one another, or an outer one: a write to one of them would
/// have to be seen through the other.
TEST(If, ResultsThatMayBeOneTensor) {
  std::string branches = "  t = x * 2\n  if bool(x.sum() > 0):\n    a = t\n    b = t\n"
                         "  else:\n    a = x + 1\n    b = x + 2\n";
  checkBoth(forward(branches + "  return a, b\n"));
  checkBoth(forward(branches + "  a += 1\n  return a, b\n"));
  checkBoth(forward("  if bool(x.sum() > 0):\n    t = x * 2\n    a = t\n    b = t\n"
                    "  else:\n    a = x + 1\n    b = x + 2\n  b += 1\n  return a, b\n"));
  // One is a view of the other after one branch.
  EXPECT_THAT(refusal(forward("  if bool(x.sum() > 0):\n    t = x * 2\n    a = t\n    b = t[1:]\n"
                              "  else:\n    a = x + 1\n    b = x[1:] + 2\n  b += 1\n"
                              "  return a, b\n"),
                      {randn({3, 4})}),
              testing::HasSubstr("share memory"));
  // An outer tensor that the branch wrote to.
  std::string written = "  t = x * 2\n  if bool(x.sum() > 0):\n    y = t.clone()\n"
                        "  else:\n    t[1:] = -1.0\n    y = t\n";
  checkBoth(forward(written + "  return t, y\n"));
  checkBoth(forward(written + "  y += 1\n  return t, y\n"));
  checkBoth(forward(written + "  t += 1\n  y *= 2\n  return t, y\n"));
  // A view of one, of a part of another, and what becomes of both in a loop.
  checkBoth(forward("  y = x * 2\n  z = y[1:3]\n  if bool(x.sum() > 0):\n    z = x[:2] + 3\n"
                    "  for i in range(int(x.abs().sum())):\n    z[0] += x[1]\n    y.mul_(0.5)\n"
                    "  return y, z\n"));
  // One of three, decided twice; and the result of another `if`.
  checkBoth(forward("  y = x * 2\n  z = y\n  if bool(x.sum() > 0):\n"
                    "    if bool(x[0, 0] > 0):\n      z = y\n    else:\n      z = x + 1\n"
                    "  else:\n    z = x + 3\n  z.add_(1)\n  return y, z\n"));
  checkBoth(forward("  a = x * 2\n  b = x * 3\n  z = a\n  if bool(x.sum() > 0):\n    z = b\n"
                    "  w = z\n  if bool(x[0, 0] > 0):\n    w = x + 1\n  w.add_(5)\n"
                    "  return a, b, z, w\n"));
  // One part of a tensor or another.
  checkBoth(forward("  y = x * 2\n  z = y[0]\n  if bool(x.sum() > 0):\n    z = y[1]\n"
                    "  z.add_(1)\n  y[1:] *= 2\n  return y, z\n"));
  checkBoth(forward("  y = x[:, :3].clone()\n  z = y\n  if bool(x.sum() > 0):\n    pass\n  else:\n"
                    "    if bool(x[0, 0] > -100):\n      z = z.t()\n  z[0] = 2.0\n"
                    "  return y, z\n"));
  // Two ways from one to another: the order of writes would matter.
  EXPECT_THAT(refusal(forward("  a = x * 2\n  b = x * 3\n  z = a\n  if bool(x.sum() > 0):\n"
                              "    z = b\n  w = z\n  if bool(x[0, 0] > 0):\n    w = a\n"
                              "  w.add_(5)\n  return a, b, z, w\n"),
                      {randn({3, 4})}),
              testing::HasSubstr("share memory"));
  EXPECT_THAT(refusal(forward("  l = [1, 2]\n  m = l\n  if bool(x.sum() > 0):\n    m = [3, 4]\n"
                              "  m.append(5)\n  return x * len(l)\n"),
                      {randn({3, 4})}),
              testing::HasSubstr("one of several"));
}

/// A size that was read in a block that is gone does not keep that block's values.
TEST(Loop, SizesOfBlocksThatAreGone) {
  EXPECT_THAT(
      refusal(
          "def forward(self, x, z):\n  t = z.min()\n  y = x\n  for i in range(min(int(t), 4)):\n"
          "    for j in range(2):\n      x = torch.ones_like(z)\n  w = x\n  t = w[..., 0]\n"
          "  if float(z.max()) > 1.5:\n    torch.add(y, y, alpha=2, out=w)\n"
          "  else:\n    torch.add(y, y, alpha=2, out=w)\n  return t\n",
          {randn({3}), randn({2})}),
      testing::Not(testing::IsEmpty()));
}

/// Whether reshape copies depends on the strides, which differ after the branches or turns.
TEST(ControlFlow, ReshapesOfUnknownStrides) {
  const std::string square = "def forward(self, x):\n  y = x[:, :3].contiguous() * 2\n";
  const std::string reshape = "  z = y.reshape(-1)\n", write = "  y.cumsum_(1)\n";
  for (const std::string turned :
       {"  if bool(x.sum() > 0):\n    y = y.t()\n",
        "  for i in range(int(x.abs().sum())):\n    y = (y + x[0, 0]).t()\n"}) {
    checkBoth(square + turned + reshape + "  return y, z\n");
    EXPECT_THAT(refusal(square + turned + reshape + write + "  return y, z\n", {randn({3, 4})}),
                testing::HasSubstr("share memory"))
        << turned;
  }
  checkBoth(square + "  if bool(x.sum() > 0):\n    y = y + 1\n" + reshape + write +
            "  return y, z\n");
}

TEST(Loop, VariablesThatMayBeAnotherTensor) {
  // It is x after no turns, and in the first.
  for (const char *body : {"    y = y * 2\n  y += 1\n", "    y.add_(1)\n    y = y * 2\n",
                           "    y = y.squeeze(-2)\n  y.add_(1)\n", "    y = y * 2\n  x.add_(1)\n"})
    EXPECT_THAT(refusal(forward("  y = x.contiguous()\n  for i in range(int(x.sum())):\n" +
                                std::string(body) + "  return x, y\n"),
                        {positive()}),
                testing::HasSubstr("share memory"))
        << body;
  // It becomes another one's.
  EXPECT_THAT(refusal(forward("  y = torch.ones([3, 4])\n  for i in range(int(x.sum())):\n"
                              "    y = x\n  y += 1\n  return x, y\n"),
                      {positive()}),
              testing::HasSubstr("share memory"));
  EXPECT_THAT(refusal(forward("  a = torch.ones([3, 4])\n  b = torch.zeros([3, 4])\n"
                              "  for i in range(int(x.sum())):\n    a = x + 1\n    b = a\n"
                              "  a += 1\n  return a, b\n"),
                      {positive()}),
              testing::HasSubstr("share memory"));
}

TEST(Loop, VariablesOfTheirOwn) {
  check(forward("  y = torch.zeros([3, 4])\n  for i in range(int(x.sum())):\n    y += x\n"
                "    y = y * 0.5\n  y += 1\n  return x, y\n"),
        {positive()});
  check(forward("  y = x * 2\n  for i in range(int(x.sum())):\n    y = y * 0.5\n    y[0] = x[1]\n"
                "  y[1] = 7\n  return x, y\n"),
        {positive()});
}

TEST(If, BranchesOfDifferentKindsAreRefused) {
  EXPECT_THAT(refusal(forward("  y = x\n  if bool(x.sum() > 0):\n    y = x[0]\n  return y\n"),
                      {randn({3, 4})}),
              testing::HasSubstr("branches"));
  EXPECT_THAT(refusal(forward("  y = x\n  if bool(x.sum() > 0):\n    y = x[:2]\n  return y\n"),
                      {randn({3, 4})}),
              testing::HasSubstr("give both one shape"));
}

TEST(Loop, KnownTripCountIsUnrolled) {
  check(forward("  y = x\n  for i in range(4):\n    y = y * 0.5 + i\n  return y\n"),
        {randn({3, 4})});
  check(
      forward("  l = []\n  for i in range(3):\n    l.append(x[i] * i)\n  return torch.stack(l)\n"),
      {randn({3, 4})});
  check(forward("  i = 0\n  y = x\n  while i < 3:\n    y = y + x\n    i += 1\n  return y\n"),
        {randn({3, 4})});
  check(forward("  y = x\n  for i in range(5):\n    if i == 3:\n      break\n    if i == 1:\n      "
                "continue\n    y = y + i\n  return y\n"),
        {randn({3, 4})});
}

TEST(Loop, ConditionKnownAtRunTime) {
  check(forward("  y = x\n  while bool(y.sum() < 100):\n    y = y * 2\n  return y\n"),
        {positive()});
  check(forward("  y = x\n  n = 0\n  while bool(y.sum() < 50) and n < 20:\n    y = y * 2\n    n += "
                "1\n  return y, n\n"),
        {positive()});
}

TEST(Loop, TripCountKnownAtRunTime) {
  check(
      forward(
          "  y = x\n  n = int(x.sum().item())\n  for i in range(n):\n    y = y + i\n  return y\n"),
      {rand({3, 4}, 0.5, 1)});
}

TEST(Loop, WritesOfOuterTensorsAreCarried) {
  check(forward("  out = torch.zeros([8, 4])\n  i = 0\n  s = x.sum()\n  while bool(s < 100):\n    "
                "out[i] = x[0] * i\n    s = s * 2\n    i += 1\n  return out, s\n"),
        {positive()});
  check(forward("  acc = x.clone()\n  row = acc[1]\n  s = x.sum()\n  while bool(s < 100):\n    "
                "row.add_(1)\n    s = s * 2\n  return acc, row\n"),
        {positive()});
}

TEST(Loop, BreakKnownAtRunTime) {
  check(forward("  y = x\n  for i in range(10):\n    y = y * 2\n    if bool(y.sum() > 50):\n      "
                "break\n  return y\n"),
        {positive()});
}

TEST(Loop, GrowingListIsRefused) {
  EXPECT_THAT(refusal(forward("  l = [x]\n  s = x.sum()\n  while bool(s < 100):\n    l.append(x)\n "
                              "   s = s * 2\n  return torch.stack(l)\n"),
                      {randn({3, 4})}),
              testing::HasSubstr("list"));
}

} // namespace
