// Sizes: as Python integers and as the 0-d integer tensors that tracing makes of them, known and
// symbolic; containers.
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

using namespace plait::frontend;

namespace {

TEST(Sizes, ArithmeticOnKnownSizes) {
  check(forward("  b, n = x.shape\n  return x.view(b * 2, n // 2)\n"), {randn({3, 4})});
  check(forward("  return x.reshape(-1, x.size(1) // 2).sum() + x.numel()\n"), {randn({3, 4})});
  check(forward("  return torch.arange(x.size(1)) + x\n"), {randn({3, 4})});
}

TEST(Sizes, SymbolicSizesStaySymbolic) {
  checkDynamic(forward("  b, n = x.shape\n  return x.view(b * 2, n // 2)\n"), {randn({3, 4})}, {0});
  checkDynamic(forward("  return x.reshape(x.size(0), 2, -1).transpose(1, 2).flatten(1)\n"),
               {randn({3, 4})}, {0});
  checkDynamic(forward("  n = x.size(0)\n  return x[:n // 2] * 2, x[n // 2:]\n"), {randn({6, 4})},
               {0});
  checkDynamic(forward("  return x[1:], x[:-1], x[-2:]\n"), {randn({6, 4})}, {0});
  checkDynamic(forward("  return torch.zeros([x.size(0), 3]) + x[:, :3]\n"), {randn({6, 4})}, {0});
  checkDynamic(forward("  return x.new_ones([x.size(0)]).unsqueeze(1).expand(-1, 4) * x\n"),
               {randn({6, 4})}, {0});
}

TEST(Sizes, QuotientsOfSymbolicSizesCancel) {
  // -1 stands for 8 n / (4 n) here: known, so that it can be split into pieces.
  checkDynamic(
      forward("  y = x.view(x.size(0), 2, 2, -1)\n  a, b = y.chunk(2, -1)\n  return a - b\n"),
      {randn({5, 8})}, {0});
  checkDynamic(forward("  return x.view(-1, x.size(0) * 3)[0], x.view(-1, x.size(0) // 2)\n"),
               {randn({4, 6})}, {0});
}

TEST(Sizes, SymbolicSizesAsTensors) {
  checkDynamic(
      forward(
          "  n = torch.tensor(x.size(0))\n  h = torch.floor_divide(n, 2)\n  return x[:int(h)]\n"),
      {randn({6, 4})}, {0});
  checkDynamic(forward("  return x * x.size(0) + float(x.size(0))\n"), {randn({6, 4})}, {0});
}

TEST(Sizes, DecisionsOnBounds) {
  checkDynamic(forward("  if x.size(0) >= 1:\n    return x + 1\n  return x\n"), {randn({6, 4})},
               {0});
}

TEST(Sizes, ListsOfSizesAreCompared) {
  checkDynamic(
      forward("  n = x.size(0)\n  y = torch.zeros([n, n])\n  if y.size() == [n, n] and x.shape "
              "!= [n + 1, 4] and x.shape != [n]:\n    return x + 1\n  return x\n"),
      {randn({6, 4})}, {0});
}

TEST(Sizes, NumbersKnownAtRunTime) {
  check(forward("  s = x.sum().item()\n  return x * s + 1\n"), {randn({3, 4})});
  check(forward("  i = int(x.argmax())\n  return x.view(-1)[i]\n"), {randn({3, 4})});
}

TEST(Containers, ListsAreShared) {
  check(forward(
            "  a = [x]\n  b = a\n  b.append(x * 2)\n  a[0] = x - 1\n  return torch.cat(a), b[0]\n"),
        {randn({3, 4})});
  check(forward("  l = [x, x + 1, x + 2]\n  l.insert(1, x * 5)\n  p = l.pop()\n  l.reverse()\n  "
                "return torch.stack(l[1:]), p\n"),
        {randn({3, 4})});
  check(forward("  l = [0, 1, 2, 3, 4]\n  y = x\n  for i in l[::-1] + l[3:0:-2] + l[-2:-9:-3]:\n   "
                " y = y "
                "* 2 + i\n  return y + len(l[9::-1] + l[1:9:-1])\n"),
        {randn({3, 4})});
  check(forward("  a, b = torch.split(x, [1, 2])\n  return a + b\n"), {randn({3, 4})});
}

TEST(Containers, Dictionaries) {
  check(forward("  d = {'a': x, 'b': x * 2}\n  d['c'] = d['a'] + d['b']\n  y = x\n  for k, v in "
                "d.items():\n    y = y + v\n  return y\n"),
        {randn({3, 4})});
  check(forward("  d = {'a': x}\n  if 'b' in d:\n    return d['b']\n  return d.get('a', x + 1)\n"),
        {randn({3, 4})});
}

TEST(Containers, Tuples) {
  check(forward("  t = (x, x * 2, 3)\n  a, b, k = t\n  return (a - b) * k, t[1]\n"),
        {randn({3, 4})});
}

TEST(Containers, Strings) {
  check(forward("  s = '{}-{}'.format('ab', x.size(0)) + '%d%s' % (7, 'c')\n  return x + len(s)\n"),
        {randn({3, 4})});
}

TEST(Containers, NoneAndOptional) {
  check(forward("  m: Optional[Tensor] = None\n  if m is None:\n    y = x\n  else:\n    y = x + "
                "m\n  return y * 2\n"),
        {randn({3, 4})});
}

} // namespace
