// What a run-time mask selects: reduced, written back and computed with by fixed sizes; laid side
// by side in a tensor of unknown size where that is needed.
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

namespace plait::frontend {
namespace {
using testing::HasSubstr;

TEST(Selections, AreReduced) {
  checkAll({"x[x > 0].sum()", "x[x > 0].mean()", "x[x > 0].max()", "x[x > 0].min()",
            "x[x > 0].prod()", "x[x > 0].std()", "x[x > 0].var(unbiased=False)", "x[x > 0].norm()",
            "(x[x > 0] > 1).any()", "(x[x > 0] > 1).all()", "x[x > 0].size(0)",
            "x[x > 0].numel() * 2", "torch.masked_select(x, y > 0).sum()",
            "torch.count_nonzero(x[y > 0])", "torch.nonzero(x > 0).size(0)",
            "torch.nonzero(x > 0).sum(0)", "torch.argwhere(x > 0).amax([0])",
            "torch.where(x > 0)[1].sum()", "x[x > 100].sum()"},
           {randn({3, 4}), randn({3, 4})});
  checkAll({"x[y > 0].sum(0)", "x[y > 0].mean(0)", "x[y > 0].mean()", "x[y > 0].sum(0, True)",
            "x[y > 0].amax([0])", "x[y > 0].amin([0, 1])", "x[y > 0].sum(-1).mean()"},
           {randn({3, 4, 5}), randn({3, 4})});
  check("torch.masked_select(x, y > 0).sum()", {randn({3, 1}), randn({3, 4})});
  checkDynamic("x[x > 0].mean(), x[x > 0].shape[0]", {randn({3, 4})}, {0});
}

TEST(Selections, AreComputedWith) {
  checkAll({"((x[y > 0] - x[y > 0].mean()) ** 2).sum()", "(x[y > 0] * y[y > 0]).sum()",
            "torch.relu(x[y > 0] - 0.1).mean()", "x[y > 0].exp().double().sum()",
            "x[y > 0].clone().mul_(2).sum()"},
           {randn({3, 4}), randn({3, 4})});
  checkAll({"torch.softmax(x[y > 0], -1).sum()", "torch.linear(x[y > 0], z).mean(0)",
            "x[y > 0][:, 1:3].sum(0)", "x[y > 0].unsqueeze(1).sum([0, 1])",
            "torch.log_softmax(x[y > 0], 1)[:, 0].mean()"},
           {randn({6, 4}), randn({6}), randn({3, 4})});
  check("torch.cross_entropy_loss(x[y > 2], y[y > 2])", {randn({6, 5}), ints({1, 3, 0, 4, 2, 3})});
}

TEST(Selections, AreWrittenBack) {
  check(forward("  z = x.clone()\n  z[x > 0] = x[x > 0] * 2\n  return z"), {randn({3, 4})});
  check(forward("  z = x.clone()\n  z[x > 0] += 1.0\n  return z"), {randn({3, 4})});
  check(forward("  m = x[:, 0] > 0\n  z = x.clone()\n  z[m] = torch.softmax(z[m], -1)\n  return z"),
        {randn({5, 4})});
}

TEST(Selections, UniqueValues) {
  checkAll({"torch._unique2(x)[0].sum()", "torch._unique2(x)[0].size(0)",
            "torch._unique2(x, True, True)[1]", "torch._unique2(x, True, False, True)[2].max()",
            "torch.unique_consecutive(x)[0].size(0)", "torch.unique_consecutive(x, True)[1]"},
           {ints({1, 3, 3, 0, 1, 1})});
}

TEST(Selections, PackedSequences) {
  // Weights of a layer of 4 inputs and 3 outputs for each of n gates, in both directions.
  auto run = [](const std::string &kind, int64_t gates, const std::string &state) {
    std::vector<at::Tensor> inputs{randn({5, 3, 4}), ints({5, 3, 2}), randn({2, 3, 3})};
    std::string rows = std::to_string(gates * 3);
    check("def forward(self, x: Tensor, n: Tensor, h: Tensor):\n"
          "  w = torch.sin(torch.arange(" +
              rows + " * 4).reshape(" + rows + ", 4) * 1.0)\n  u = torch.cos(torch.arange(" + rows +
              " * 3).reshape(" + rows +
              ", 3) * 1.0)\n"
              "  data, sizes = torch._pack_padded_sequence(x, n, False)\n"
              "  r = torch." +
              kind + "(data, sizes, " + state +
              ", [w, u, w * 0.5, u * 0.5], False, 1, 0.0, False, True)\n"
              "  return torch._pad_packed_sequence(r[0], sizes, False, 0.5, 5), r[1:]",
          inputs);
  };
  run("lstm", 4, "[h, h * 0.5]");
  // 4 inputs, 5 in a cell, of which 3 are given on.
  check("def forward(self, x: Tensor, n: Tensor, h: Tensor, c: Tensor):\n"
        "  w = torch.sin(torch.arange(80).reshape(20, 4) * 1.0)\n"
        "  u = torch.cos(torch.arange(60).reshape(20, 3) * 1.0)\n"
        "  v = torch.cos(torch.arange(15).reshape(3, 5) * 0.7)\n"
        "  data, sizes = torch._pack_padded_sequence(x, n, False)\n"
        "  r = torch.lstm(data, sizes, [h, c], [w, u, v, w * 0.5, u * 0.5, v], False, 1, 0.0, "
        "False, True)\n"
        "  return torch._pad_packed_sequence(r[0], sizes, False, 0.5, 5), r[1:]",
        {randn({5, 3, 4}), ints({5, 3, 2}), randn({2, 3, 3}), randn({2, 3, 5})});
  run("gru", 3, "h");
  run("rnn_tanh", 1, "h");
  run("rnn_relu", 1, "h");
}

TEST(Selections, SideBySide) {
  checkAll({"x[x > 0]", "torch.cat([x[x > 0], x[x > 0]])", "torch.cat([x[x > 0], x[x < 0], y])",
            "torch.sort(x[x > 0])", "torch.masked_select(x, x > 0)[0]", "x[x > 0].cumsum(0)",
            "x[x > 0][:2]", "x[x > 0].flip(0)", "torch.nonzero(x)", "torch.nonzero(x > 0)[:, 0]",
            "torch.where(x > 0)", "x[x > 0] * 2, (x > 0).sum()", "y[torch.nonzero(x > 0)[:, 0]]",
            "torch.outer(x[x > 0], y)", "torch.argmax(x[x > 0])", "x[x > 0].unsqueeze(1) * y",
            "(x > 1)[x > 0]", "torch.topk(x[x > -9], 2)"},
           {floats({1.5, -2, 3, 0.5, -1, 2}), floats({1, 2, 3, 4, 5, 6})});
  checkAll({"x[y > 0]", "x[y > 0].sum(1)", "torch.matmul(x[y > 0], x.transpose(0, 1))",
            "x[:, torch.tensor([1.0, -1.0, 2.0]) * y[0] > 0]", "x[y > 0].reshape(-1)",
            "torch.linear(x[y > 0], x[:2])[:, 0]", "x[y > 0].transpose(0, 1)",
            "torch.softmax(x[y > 0], 0)", "x[y > 0][:, 1:].contiguous().view(-1, 1)"},
           {randn({5, 3}), floats({1, -1, 2, 3, -2})});
  checkAll({"x[x > 0]", "torch.nonzero(x)", "x[:, y > 0]", "x[:, y > 0, :1]", "x[x[:, :, 0] > 0]"},
           {randn({2, 3, 4}), floats({1, -1, 2})});
  checkAll({"torch._unique2(x)[0]", "torch._unique2(x, True, True, True)",
            "torch.unique_consecutive(x, True, True)", "torch.bincount(x)",
            "torch.bincount(x, None, 9)", "torch.bincount(x, torch.abs(x * 0.5))",
            "torch.bincount(x, x)", "torch.bincount(x, None, 2)[1:]"},
           {ints({1, 3, 3, 0, 1, 1})});
  // Written to, before and after it is laid out.
  check(forward("  s = x[x > 0]\n  s[0] = 7.0\n  return s, x"), {floats({1, -2, 3})});
  check(forward("  s = x[x > 0]\n  s += 1.0\n  return torch.sort(s)"), {floats({3, -2, 1})});
  // What another mask selects: the sizes are equal at run time.
  check("x[x > 0] + x[x < 0]", {floats({1, -2, 3, -4})});
  checkDynamic("x[x > 0], torch.sort(x[x > 0])", {randn({3, 4})}, {0});
}

TEST(Selections, Positions) {
  // No table of coordinates to gather from.
  EXPECT_THAT(operations("torch.nonzero(x)", {randn({3, 4})}),
              testing::Not(testing::Contains("gather_nd")));
}

TEST(Selections, CountsThatAreComputed) {
  checkAll({"torch.repeat_interleave(x, y)", "torch.repeat_interleave(x > 0, y)",
            "torch.repeat_interleave(x, y[0])", "torch.repeat_interleave(y)",
            "torch.repeat_interleave(torch.outer(x, x), y, 0)",
            "torch.repeat_interleave(torch.outer(x, x), y, -1)"},
           {floats({1.5, -2, 3, 0.5}), ints({2, 0, 3, 1})});
  checkAll({"torch.topk(x, int(y[0]))", "torch.topk(x, int(y[1]), 0, False)[0]",
            "torch.topk(x, int((x > 0).sum()))[1]"},
           {floats({1.5, -2, 3, 0.5}), ints({2, 3})});
  checkDynamic("torch.repeat_interleave(x, y, 0)", {randn({3, 2}), ints({2, 0, 3})}, {0});
}

TEST(Selections, RefuseWhatCannotBeSaid) {
  EXPECT_THAT(refusal("torch.nonzero(x.sum())", {randn({6})}), HasSubstr("rank 0"));
}

} // namespace
} // namespace plait::frontend
