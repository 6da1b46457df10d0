// In-place writes: every alias sees them, through views of views, whatever the form of the write.
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

using namespace plait::frontend;

namespace {

TEST(Mutation, InPlaceFormsStoreTheFunctionalResult) {
  check(forward("  y = x.clone()\n  y.add_(1.5)\n  y.mul_(x)\n  y.relu_()\n  return y\n"),
        {randn({3, 4})});
  check(forward("  y = x.clone()\n  y += 2\n  y *= y\n  return y\n"), {randn({5})});
  check(forward(
            "  y = torch.zeros_like(x)\n  y.copy_(x.t().t())\n  y.clamp_(-0.5, 0.5)\n  return y\n"),
        {randn({3, 4})});
}

TEST(Mutation, ResultTakesTheTypeOfSelf) {
  check(forward("  y = x.long()\n  y.copy_(x * 2)\n  return y\n"), {floats({1.7, -2.2, 3.0})});
}

TEST(Mutation, ValueIsBroadcast) {
  check(forward("  y = x.clone()\n  y[1:3] = x[0]\n  return y\n"), {randn({4, 5})});
  check(forward("  y = x.clone()\n  y[:, 2] = 7.0\n  return y\n"), {randn({4, 5})});
}

TEST(Mutation, OfNothingWritesNothing) {
  check(forward("  m = x.clone()\n  m[4:] = 3.0\n  return m\n"), {randn({4, 3})});
  check(forward("  m = x.clone()\n  m[4:] = y\n  return m\n", "x: Tensor, y: Tensor"),
        {randn({4, 3}), randn({3})});
  check(forward("  m = x.clone()\n  m[4:] += 1\n  return m\n"), {randn({4, 3})});
  check(forward("  m = x.clone()\n  m[:, 2:2].mul_(x[:, 0:1])\n  return m\n"), {randn({4, 3})});
  check(forward("  m = x.clone()\n  m[3:1].zero_()\n  m[9:].copy_(x[9:])\n  return m\n"),
        {randn({4, 3})});
  check(forward("  m = torch.zeros([4])\n  m[4:] = 1.0\n  return m + x\n"), {randn({4})});
}

TEST(Mutation, OutputsOfMaxThatNothingReads) {
  check(forward("  v = torch.empty([2])\n  i = torch.empty([2], dtype=4)\n"
                "  torch.max(x, 1, max=v, max_values=i)\n  return v, i\n"),
        {randn({2, 3})});
  check(forward("  v = torch.empty([2])\n  i = torch.empty([2], dtype=4)\n"
                "  torch.max(x, 1, max=v, max_values=i)\n  return v\n"),
        {randn({2, 3})});
  check(forward("  v = torch.empty([2, 3])\n  i = torch.empty([2, 3], dtype=4)\n"
                "  torch.sort(x, 1, values=v, indices=i)\n  return i\n"),
        {randn({2, 3})});
}

TEST(Mutation, AliasesSeeTheWrite) {
  check(forward("  y = x.clone()\n  v = y.view(2, 6)\n  y.add_(1)\n  return v * 2, y\n"),
        {randn({3, 4})});
  check(forward("  y = x.clone()\n  v = y[1]\n  v.mul_(3)\n  return y, v\n"), {randn({3, 4})});
  check(forward("  y = x.clone()\n  a, b = y.chunk(2, dim=1)\n  a.add_(10)\n  b.mul_(2)\n  return "
                "y, a, b\n"),
        {randn({3, 4})});
}

TEST(Mutation, ThroughViewsOfViews) {
  check(forward("  y = x.clone()\n  y.t()[1:3].fill_(5)\n  return y\n"), {randn({3, 4})});
  check(forward(
            "  y = x.clone()\n  y.view(2, 3, 4).transpose(0, 2)[1:, :, 1].mul_(-1)\n  return y\n"),
        {randn({6, 4})});
  check(forward("  y = x.clone()\n  y[:, ::2][1].add_(100)\n  return y\n"), {randn({3, 5})});
  check(forward("  y = x.clone()\n  y.permute(2, 0, 1).unsqueeze(0)[0, 1].copy_(torch.ones([2, "
                "3]))\n  return y\n"),
        {randn({2, 3, 4})});
}

TEST(Mutation, CopiesKeepTheStridesThatLibTorchGivesThem) {
  // A reshape of a copy that is not row-major is a copy again: the write does not reach it. (6 is
  // float32; memory formats are 0, contiguous, and 2, channels last.)
  check(forward("  y = x.t().clone()\n  y.reshape(-1).add_(1)\n  return y\n"), {randn({3, 4})});
  check(forward("  y = x.permute(0, 2, 3, 1).clone()\n  y.reshape(-1).add_(1)\n  return y\n"),
        {randn({2, 3, 4, 5})});
  check(forward("  y = x.t().to(6, copy=True)\n  y.reshape(-1).add_(1)\n  return y\n"),
        {randn({3, 4})});
  check(forward("  y = x.t().clone(memory_format=0)\n  y.reshape(-1).add_(1)\n"
                "  return y\n"),
        {randn({3, 4})});
  check(forward("  y = x.t().clone()\n  return x * y.stride(0) + int(y.is_contiguous())\n"),
        {randn({3, 4})});
}

TEST(Mutation, OtherMemoryFormatsMakeCopies) {
  for (const char *copy :
       {"to(memory_format=2)", "contiguous(memory_format=2)", "clone(memory_format=2)"}) {
    check(forward(std::string("  y = x.") + copy + "\n  y.relu_()\n  return y + x\n"),
          {randn({2, 3, 4, 5})});
    check(forward(std::string("  y = x.") + copy + "\n  y.reshape(-1).add_(1)\n  return y\n"),
          {randn({2, 3, 4, 5})});
  }
  check(forward("  if x.is_contiguous(memory_format=2):\n    return x + 1\n"
                "  return x - 1\n"),
        {randn({2, 3, 4, 5})});
}

TEST(Mutation, ThroughDiagonals) {
  check(forward("  y = x.clone()\n  d = y.diagonal()\n  d.fill_(5)\n  y.mul_(2)\n  return y, d\n"),
        {randn({3, 4})});
  check(forward("  y = x.clone()\n  y.diagonal(-1, 2, 0).add_(1)\n  y.diagonal(2, 1, 2)[0] = 7\n  "
                "return y\n"),
        {randn({3, 4, 5})});
  check(forward("  y = torch.zeros([3, 3])\n  y.t().diagonal(1).copy_(x)\n  return y\n"),
        {randn({2})});
}

TEST(Mutation, ReshapeAliasesOnlyWhereStridesAllow) {
  // A reshape of a transposed tensor copies: the write must not be seen.
  check(forward("  y = x.clone()\n  z = y.t().reshape(-1)\n  z.add_(1)\n  return y, z\n"),
        {randn({3, 4})});
  // A reshape of a contiguous one aliases: the write must be seen.
  check(forward("  y = x.clone()\n  z = y.reshape(-1)\n  z.add_(1)\n  return y, z\n"),
        {randn({3, 4})});
  check(forward("  y = x.clone()\n  z = y.contiguous()\n  z.add_(1)\n  w = y.t().contiguous()\n  "
                "w.mul_(2)\n  return y, z, w\n"),
        {randn({3, 4})});
}

TEST(Mutation, EmptyTensorFilledSliceBySlice) {
  check(forward("  y = x.new_empty([4, 3])\n  y[0:2] = x[0:2] * 2\n  y[2] = x[1]\n  y[3] = 1.0\n  "
                "return y\n"),
        {randn({2, 3})});
  check(forward("  y = torch.empty([3, 4])\n  for i in range(3):\n    y[i] = x[i] * float(i)\n  "
                "return y\n"),
        {randn({3, 4})});
}

TEST(Mutation, OutForms) {
  check(forward("  y = torch.zeros([3, 4])\n  torch.add(x, x, alpha=2, out=y)\n  return y\n"),
        {randn({3, 4})});
}

TEST(Mutation, MetadataChangesTheObject) {
  // Of one axis flatten() gives the very object, view() another one.
  for (const char *other : {"x.flatten(1)", "x.conj()", "x.contiguous()", "x.view_as(x)"})
    check(forward("  x = x.clone()\n  y = " + std::string(other) + "\n  x.unsqueeze_(0)\n" +
                  "  return x, y\n"),
          {randn({3, 4})});
  check(forward("  y = x.clone()\n  y.unsqueeze_(0)\n  y.transpose_(1, 2)\n  return y + 1\n"),
        {randn({3, 4})});
}

/// Every second or third element up to a place that is known at run time, and of none.
TEST(Mutation, StepsToAPlaceOfRunTime) {
  for (int64_t end : {0, 1, 2, 3, 4})
    for (const char *part : {"[..., :i:2]", "[:, 1:i:3]", "[..., :i]", "[1:, i::2]"})
      check("def forward(self, x, z):\n  i = int(z)\n  y = x.clone()\n  y" + std::string(part) +
                " += 1.0\n  return y, (x" + part + " * 2).sum()\n",
            {randn({3, 4}), at::scalar_tensor(end, at::kLong)});
}

/// What the schema calls a tensor of its own, and is the argument or a view of it.
TEST(Mutation, ViewsThatNoSchemaSays) {
  for (const char *view : {"torch.atleast_2d(y)", "torch.meshgrid([y[0], y[1]])[0]"})
    EXPECT_THAT(refusal(forward("  y = x.clone()\n  z = " + std::string(view) +
                                "\n  z.add_(1)\n  return y, z\n"),
                        {randn({3, 4})}),
                testing::HasSubstr("share memory"))
        << view;
}

/// After a branch or a loop the object may be another one.
TEST(Mutation, ShapesOfWhatMayBeAnotherObject) {
  for (const char *body : {"  y = x.clone()\n  z = y\n  if bool(x.sum() > 0):\n    z = x + 1\n  y.",
                           "  y = x.clone()\n  z = y\n  if bool(x.sum() > 0):\n    z = x + 1\n  z.",
                           "  y = x.view_as(x)\n  z = x.view_as(x)\n  if bool(x.sum() > 0):\n"
                           "    y = z\n  z.",
                           "  y = x.clone()\n  z = y\n  for i in range(int(x.abs().sum())):\n"
                           "    z = z * 0.5\n  z."})
    EXPECT_THAT(
        refusal(forward(std::string(body) + "unsqueeze_(0)\n  return y, z\n"), {randn({3, 4})}),
        testing::HasSubstr("changes the shape"))
        << body;
  check(forward("  y = x * 2\n  if bool(x.sum() > 0):\n    y = x + 1\n  else:\n    y = x - 1\n"
                "  y.unsqueeze_(0)\n  return y\n"),
        {randn({3, 4})});
}

TEST(Mutation, ScatterForms) {
  check("torch.slice_scatter(x, y, 0, 1, 3, 1)", {randn({4, 3}), randn({2, 3})});
  check("torch.select_scatter(x, y, 1, 2)", {randn({4, 3}), randn({4})});
}

TEST(Mutation, ExpandedTensorsCannotBeWritten) {
  EXPECT_THAT(refusal(forward("  y = x.clone().expand(3, 4)\n  y[0] = x[0]\n  return y\n"),
                      {randn({1, 4})}),
              testing::HasSubstr("expanded"));
}

TEST(Mutation, EmptySlicesOfRangedTensors) {
  checkDynamic(forward("  y = x.clone().unsqueeze(0)\n  y[1:0] = -1.0\n  y[0].mul_(2)\n"
                       "  return y\n"),
               {randn({2, 3})}, {0});
}

TEST(Mutation, UndecidedAliasesCannotBeWritten) {
  // Whether `reshape` copies depends on strides that only LibTorch's kernels know.
  EXPECT_THAT(
      refusal(forward("  y = x.t() + x.t()\n  z = y.reshape(-1)\n  z.add_(1)\n  return y, z\n"),
              {randn({3, 4})}),
      testing::HasSubstr("share memory"));
}

} // namespace
