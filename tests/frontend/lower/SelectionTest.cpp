// What a run-time mask selects: reduced, written back and computed with by fixed sizes; refused
// where the elements are needed side by side.
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
  run("gru", 3, "h");
  run("rnn_tanh", 1, "h");
  run("rnn_relu", 1, "h");
}

TEST(Selections, AreRefusedWhereTheirSizeMatters) {
  for (const char *source : {"x[x > 0]", "torch.cat([x[x > 0], x[x > 0]])", "x[x > 0] + x[x < 0]",
                             "torch.sort(x[x > 0])", "x[x > 0].reshape(-1, 2)", "torch.nonzero(x)",
                             "torch.masked_select(x, x > 0)[0]", "x[x > 0].cumsum(0)"})
    EXPECT_THAT(refusal(source, {randn({6})}), HasSubstr("depends on the data")) << source;
}

} // namespace
} // namespace plait::frontend
