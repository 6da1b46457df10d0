// Forms that tracing and decompositions write rather than people.
#include "tests/frontend/lower/LowerCheck.h"

namespace plait::frontend {

TEST(RareForms, Kernels) {
  checkAll({"torch._softmax(x, 1, False)", "torch._log_softmax(x, 1, False)",
            "torch._prelu_kernel(x, y)", "torch._adaptive_avg_pool3d(x, [1, 2, 2])",
            "torch.std_mean(x)", "torch.linalg_norm(x[0, 0, 0], 'fro')"},
           {randn({2, 3, 4, 5, 6}), rand({1, 3, 1, 1, 1})});
}

TEST(RareForms, Scalars) {
  at::Tensor x = randn({3, 4}), one = at::scalar_tensor(1.5);
  checkAll({"torch.fill(x, y)", "torch.copysign(x, -2.0)", "torch.scalar_tensor(float(y)) + x"},
           {x, one});
  check("torch.bucketize(float(y), x[0].sort()[0])", {x, one});
  check("torch.searchsorted(x[0].sort()[0], float(y))", {x, one});
  check("torch.index_fill(x, 0, torch.tensor([0, 2]), y)", {x, one});
  check("torch.tensor(int(y)) + x", {x, one});
  check("torch.tensor(bool(y)) & (x > 0)", {x, one});
}

TEST(RareForms, KernelsOfOtherProcessors) {
  // LibTorch has no CPU kernel to compare with, or not on every machine.
  at::Tensor image = randn({1, 4, 6, 6}), volume = randn({1, 2, 4, 4, 4});
  EXPECT_EQ(refusal("torch._conv_depthwise2d(x, torch.ones(4, 1, 3, 3), [3, 3], None, [1, 1], "
                    "[1, 1], [1, 1])",
                    {image}),
            "");
  EXPECT_EQ(refusal("torch.conv_depthwise3d(x, torch.ones(2, 1, 3, 3, 3), [3, 3, 3], None, "
                    "[1, 1, 1], [1, 1, 1], [1, 1, 1])",
                    {volume}),
            "");
  EXPECT_EQ(refusal("torch.mkldnn_convolution(x, torch.ones(2, 4, 3, 3), None, [1, 1], [1, 1], "
                    "[1, 1], 1)",
                    {image}),
            "");
}

TEST(RareForms, Sizes) {
  checkDynamic("torch.eye(x.size(0), 3) + x", {randn({5, 3})}, {0});
  checkDynamic("torch.empty([x.size(0), 3]).zero_() + x", {randn({5, 3})}, {0});
}

/// Large ones are made when the package is written, or by LibTorch where nothing else can.
TEST(RareForms, LargeIdentities) {
  at::Tensor x = randn({3, 4});
  check("(torch.eye(150)[:3, :4] + x) @ torch.eye(4, 20000)[:, :5]", {x});
  check("torch.eye(200).mul_(2)[1:4, :4] + x", {x});
  check("(1 - torch.eye(200)).to(11)[:3, :4] & (x > 0)", {x});
  check("torch.inverse(torch.eye(130))[:3, :4] + x", {x});
  check("torch.inverse(torch.eye(130) * 2)[:3, :4] + x", {x}); // through what is lowered
  check("x[(torch.eye(150) > 0)[:3, :4]]", {x});
}

TEST(RareForms, Written) {
  check(
      "def forward(self, x, y):\n  z = x * 1\n  z.multiply_(y)\n  z.divide_(2)\n  z.subtract_(y)\n"
      "  z.absolute_()\n  z.negative_()\n  return z\n",
      {randn({3, 4}), rand({4}, 0.5, 2)});
}

} // namespace plait::frontend
