// Sizes that may be 1 and may be more, where the two are treated differently: the program that is
// lowered once is run at both.
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

namespace plait::frontend {
namespace {

/// With an x of [n, 4], whose n is not known, and a y of [3, 4].
void checkRange(const std::string &source) {
  SCOPED_TRACE(source);
  for (int64_t n : {1, 3})
    checkDynamic(source, {randn({n, 4}), randn({3, 4})}, {0});
}

TEST(Ranges, Expand) {
  checkRange("x.expand(3, 4).sum(0) + y");
  checkRange("x.expand(2, 3, 4).sum(1) + y[:2]");
  checkRange("torch.broadcast_to(x, [3, 4]).mean() + y");
  checkRange("x.expand_as(y).cumsum(0)");
  checkRange("torch.cat([x.expand(3, 4), y], 0)");
  checkRange("torch.stack([x.expand_as(y), y]).sum(1)");
  checkRange("x.expand(3, 4).t().reshape(12) + y.flatten()");
  checkRange("torch.broadcast_tensors([x, y])[0].prod(0)");
  checkRange("x.expand(x.size(0), 4).sum(0) + y");
  checkRange("x.expand(3, -1).clone().mul_(2).sum(0) + y");
}

TEST(Ranges, Broadcasting) {
  checkRange("(x + y).sum(0)");
  checkRange("(x * y).reshape(-1) + (x - y).view(12)");
  checkRange("torch.where(x > 0, x, y).sum(0)");
  checkRange("torch.where(y > 0, x, y).view(-1)");
  checkRange("y.clone().copy_(x).sum(0)");
  checkRange("y.masked_fill(x > 0, 2.).sum(0)");
  checkRange("torch.lerp(x, y, 0.5).sum(0)");
  checkRange("torch.addcmul(y, x, y).sum(0)");
  checkRange("torch.maximum(x, y).flatten()");
  checkRange("torch.take_along_dim(x, torch.tensor([[0], [1], [2]]), 1) + y");
  checkRange("x.unsqueeze(1) @ y.unsqueeze(2)");
  checkRange("(x.unsqueeze(1).unsqueeze(1) @ y.unsqueeze(2).unsqueeze(0)).sum(1)");
  checkRange("torch.scaled_dot_product_attention(y.view(3, 2, 2), x.view(-1, 2, 2), "
             "x.view(-1, 2, 2)).sum(0)");
  checkRange("torch.cross(x[:, :3], y[:, :3], dim=1).sum(0)");
  checkRange("torch.cosine_similarity(x, y, 1)");
  checkRange("torch.kron(x, y).sum(0)");
}

TEST(Ranges, CountingDown) {
  checkRange("torch.arange(x.size(0) - 1, -1, -1).unsqueeze(1) * x");
  checkRange("torch.arange(2 * x.size(0), 0, -2).unsqueeze(1) * x");
}

TEST(Ranges, ResizingByAGivenScale) {
  for (int64_t n : {2, 5, 6}) {
    checkDynamic("torch.upsample_linear1d(x, [5], False, 0.7)", {randn({1, 2, n})}, {2});
    checkDynamic("torch.upsample_bilinear2d(x, [4, 6], False, 1.5, None)", {randn({1, 2, n, 3})},
                 {2});
  }
}

TEST(Ranges, PoolingThatRoundsUp) {
  for (int64_t n : {3, 4, 5, 6}) {
    checkDynamic("torch.max_pool1d(x, 2, 2, 0, 2, True)", {randn({1, 2, n})}, {2});
    checkDynamic("torch.avg_pool1d(x, 2, 2, 0, True)", {randn({1, 2, n})}, {2});
  }
  auto refused = [](const std::string &pool) {
    return refusal(pool, {randn({1, 2, 5, 4})}, {.dynamic = {2}});
  };
  using testing::HasSubstr;
  EXPECT_THAT(refused("torch.max_pool2d(x, [3, 1], [3, 2], 0, 1, True)"),
              HasSubstr("would start outside"));
  EXPECT_THAT(refused("torch.avg_pool2d(x, 2, 2, [0, 1], True)"), HasSubstr("count_include_pad"));
  EXPECT_THAT(refused("torch.avg_pool2d(x, 2, 2, 0, True, True, 3)"),
              HasSubstr("divisor_override"));
}

TEST(Ranges, Einsum) {
  checkRange("torch.einsum('...i,...i->...', [x, y])");
  checkRange("torch.einsum('ij,ij->j', [x, y])");
  checkRange("torch.einsum('ij,ij->', [x, y])");
  checkRange("torch.einsum('ij,ik->jk', [x, y])");
  checkRange("torch.einsum('ij,ij->ij', [y, x])");
  checkRange("torch.einsum('ij,kj->ik', [x, y]).sum(0)");
}

/// The place may be beyond the end for some sizes of the range; it is one element nevertheless.
TEST(Ranges, OneElementAtASize) {
  for (int64_t n : {1, 3}) {
    checkDynamic("y[:, x.size(0)] + 1", {randn({n, 4}), randn({3, 4})}, {0});
    checkDynamic("def forward(self, x, y):\n  y = y.clone()\n  y[:, x.size(0)].fill_(1.5)\n"
                 "  return y\n",
                 {randn({n, 4}), randn({3, 4})}, {0});
  }
}

TEST(Ranges, Writes) {
  checkRange("def forward(self, x, y):\n  z = y.clone()\n  z[:] = x\n  z[1:] += x[:1]\n  return "
             "z.sum(0)\n");
  checkRange(
      "def forward(self, x, y):\n  z = torch.zeros([2, 3, 4])\n  z[1] = x\n  return z.sum(1)\n");
  checkRange("def forward(self, x, y):\n  z = torch.zeros([3, 4])\n"
             "  z[torch.tensor([2, 0, 1])] = x\n  return z.sum(0)\n");
}

} // namespace
} // namespace plait::frontend
