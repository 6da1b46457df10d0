// Linear layers, products, einsum, attention, convolutions, normalisations.
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

namespace plait::frontend {

using testing::HasSubstr;

TEST(Linear, Layer) {
  for (auto shape : std::vector<std::vector<int64_t>>{{4}, {2, 4}, {2, 3, 4}, {2, 3, 5, 4}}) {
    check("torch.linear(x, torch.arange(12.).view(3, 4), torch.arange(3.))", {randn(shape)});
    check("torch.linear(x, torch.arange(12.).view(3, 4))", {randn(shape)});
    check("torch.linear(x, y, z)", {randn(shape), randn({3, 4}), randn({3})});
  }
  check("torch.linear(x, y)", {randn({2, 4}), randn({4})});
  check("torch.linear(x, torch.arange(12.).view(3, 4), y)", {randn({2, 4}), randn({3})});
}

TEST(Linear, Matmul) {
  std::vector<std::vector<int64_t>> left = {{4}, {3, 4}, {2, 3, 4}, {5, 1, 3, 4}},
                                    right = {{4}, {4, 6}, {2, 4, 6}, {2, 4, 6}};
  for (auto &a : left)
    for (auto &b : right) {
      check("torch.matmul(x, y)", {randn(a), randn(b)});
      check("x @ y", {randint(-3, 4, a), randint(-3, 4, b)});
    }
  check("x @ torch.arange(8.).view(4, 2)", {randn({2, 3, 4})});
  check("x @ torch.arange(8.).view(2, 4).t()", {randn({3, 4})});
  check("torch.arange(8.).view(2, 4) @ x", {randn({4, 3})});
}

TEST(Linear, Products) {
  checkAll({"torch.mm(x, y)", "x.mm(y)"}, {randn({2, 3}), randn({3, 4})});
  check("torch.bmm(x, y)", {randn({5, 2, 3}), randn({5, 3, 4})});
  check("torch.mv(x, y)", {randn({2, 3}), randn({3})});
  check("torch.dot(x, y)", {randn({4}), randn({4})});
  check("torch.outer(x, y)", {randn({4}), randn({3})});
  check("torch.kron(x, y)", {randn({4}), randn({3})});
  check("torch.kron(x, y)", {randn({2, 3}), randn({4, 5})});
  check("torch.kron(x, y)", {randn({2, 1}), randn({3})});
  check("torch.kron(x, y)", {randn({2, 3, 1, 1}), randn({4, 5, 3, 2})});
  check("torch.kron(x, y)", {randn({2, 3, 2, 2}), randn({3, 2, 1, 1})});
  check("torch.kron(x, y)", {randn({2, 3, 4}), randn({1, 2, 1})});
  check("torch.kron(x, y)", {randn({1, 1}), randn({1})});
  check("torch.inner(x, y)", {randn({2, 4}), randn({3, 4})});
  check("torch.addmm(x, y, z)", {randn({4}), randn({2, 3}), randn({3, 4})});
  check("torch.addmm(x, y, z, beta=0.5, alpha=2.0)", {randn({2, 4}), randn({2, 3}), randn({3, 4})});
  check("torch.addmm(torch.arange(4.), x, torch.arange(12.).view(3, 4))", {randn({2, 3})});
  check("torch.addmm(torch.arange(4.), x, torch.arange(12.).view(4, 3).t(), alpha=2)",
        {randn({2, 3})});
  check("torch.baddbmm(x, y, z, beta=0.5, alpha=2.0)",
        {randn({5, 2, 4}), randn({5, 2, 3}), randn({5, 3, 4})});
  check("torch.baddbmm(x, y, z, beta=0)", {randn({5, 2, 4}), randn({5, 2, 3}), randn({5, 3, 4})});
  check("torch.addbmm(x, y, z, beta=0.5, alpha=2.0)",
        {randn({2, 4}), randn({5, 2, 3}), randn({5, 3, 4})});
  check("torch.addmv(x, y, z)", {randn({2}), randn({2, 3}), randn({3})});
  check("torch.addr(x, y, z)", {randn({2, 3}), randn({2}), randn({3})});
  check("torch.linalg_vecdot(x, y)", {randn({2, 3}), randn({2, 3})});
  check("torch.cross(x, y, dim=1)", {randn({2, 3}), randn({2, 3})});
  check("torch.tensordot(x, y, [1, 2], [1, 0])", {randn({2, 3, 4}), randn({4, 3, 5})});
  check("torch.bilinear(x, y, z, w)", {randn({2, 3}), randn({2, 4}), randn({5, 3, 4}), randn({5})});
  check("torch.linalg_multi_dot([x, y, z])", {randn({2, 3}), randn({3, 4}), randn({4, 5})});
}

TEST(Linear, Einsum) {
  auto two = [](const char *equation, std::vector<int64_t> a, std::vector<int64_t> b) {
    check("torch.einsum('" + std::string(equation) + "', x, y)", {randn(a), randn(b)});
  };
  two("ij,jk->ik", {2, 3}, {3, 4});
  two("ij,jk", {2, 3}, {3, 4});
  two("bhqd,bhkd->bhqk", {2, 3, 4, 5}, {2, 3, 6, 5});
  two("bqhd,bkhd->bhqk", {2, 4, 3, 5}, {2, 6, 3, 5});
  two("bhqk,bkhd->bqhd", {2, 3, 4, 6}, {2, 6, 3, 5});
  two("nctkv,kvw->nctw", {2, 3, 4, 5, 6}, {5, 6, 7});
  two("i,j->ij", {3}, {4});
  two("i,i->", {3}, {3});
  two("...ij,...jk->...ik", {2, 5, 3, 4}, {2, 5, 4, 2});
  two("...ij,jk->...ik", {2, 5, 3, 4}, {4, 2});
  two("abc,abd->abcd", {2, 3, 4}, {2, 3, 5});
  two("abcd,ce->abde", {2, 3, 4, 5}, {4, 6});
  two("ab,cd->abcd", {2, 3}, {4, 5});
  two("ij,ij->j", {2, 3}, {2, 3});
  two("ij,ij->ij", {2, 3}, {1, 3});
  two("ba,b->", {3, 4}, {3});
  check("torch.einsum('ii->i', x)", {randn({4, 4})});
  check("torch.einsum('ii', x)", {randn({4, 4})});
  check("torch.einsum('ijk->kj', x)", {randn({2, 3, 4})});
  check("torch.einsum('ij,jk,kl->il', x, y, z)", {randn({2, 3}), randn({3, 4}), randn({4, 5})});
}

TEST(Attention, ScaledDotProduct) {
  std::string sdpa = "torch.scaled_dot_product_attention";
  at::Tensor q = randn({2, 4, 5, 8}), k = randn({2, 4, 7, 8}), v = randn({2, 4, 7, 6});
  check(sdpa + "(x, y, z)", {q, k, v});
  check(sdpa + "(x, y, z, is_causal=True)", {q, k, v});
  check(sdpa + "(x, y, z, scale=0.3)", {q, k, v});
  check(sdpa + "(x, y, z, attn_mask=w)", {q, k, v, randn({5, 7})});
  check(sdpa + "(x, y, z, attn_mask=w)", {q, k, v, randn({2, 1, 5, 7})});
  check(sdpa + "(x, y, z, attn_mask=w)", {q, k, v, randn({2, 1, 1, 7}) > -1});
  check(sdpa + "(x, y, z)", {randn({5, 8}), randn({7, 8}), randn({7, 6})});
  check(sdpa + "(x, y, z)", {randn({3, 5, 8}), randn({3, 7, 8}), randn({3, 7, 6})});
  check(sdpa + "(x, y, z, enable_gqa=True)", {q, randn({2, 2, 7, 8}), randn({2, 2, 7, 6})});
  EXPECT_THAT(refusal(sdpa + "(x, y, z, None, 0.1)", {q, k, v}), HasSubstr("eval"));
}

TEST(Attention, WhollyMaskedRows) {
  std::string sdpa = "torch.scaled_dot_product_attention";
  at::Tensor q = randn({2, 4, 5, 8}), k = randn({2, 4, 7, 8}), v = randn({2, 4, 7, 6});
  at::Tensor all = at::ones({5, 7}, at::kBool), some = all.clone();
  some[1].fill_(false);
  some[3].fill_(false);
  some[4][2].fill_(false);
  at::Tensor additive = at::zeros({5, 7}).masked_fill(some.logical_not(), -INFINITY);
  at::Tensor keys = at::ones({2, 1, 1, 7}, at::kBool);
  keys[1].fill_(false);
  std::string known = "(torch.arange(35).view(5, 7) % 11 > 2) & (torch.arange(5) != 1).view(5, 1)";
  for (const at::Tensor &mask : {all, some, additive, keys, keys.expand({2, 4, 5, 7}).contiguous()})
    check(sdpa + "(x, y, z, attn_mask=w)", {q, k, v, mask});
  checkAll(
      {sdpa + "(x, y, z, attn_mask=" + known + ")",
       sdpa + "(x, y, z, attn_mask=torch.zeros(5, 7).masked_fill(~(" + known + "), -float('inf')))",
       // Not wholly hidden: the same finite amount leaves the softmax as it is.
       sdpa + "(x, y, z, attn_mask=torch.zeros(5, 7).masked_fill(~(" + known + "), -1e9))"},
      {q, k, v});
  checkAll({sdpa + "(x, y, z, attn_mask=torch.zeros(w.shape).masked_fill(~w, -float('inf')))",
            sdpa + "(x, y, z, attn_mask=torch.zeros(w.shape).masked_fill(~w, -3.4e38))",
            sdpa + "(x, y, z, attn_mask=(1.0 - w.float()) * -3.4e38)",
            sdpa + "(x[:, 0], y[:, 0], z[:, 0], attn_mask=w)",
            sdpa + "(x[0, 0], y[0, 0], z[0, 0], attn_mask=w)",
            sdpa + "(x[0, 0], y[0, 0], z[0, 0], attn_mask=w[3])",
            "torch._scaled_dot_product_flash_attention_for_cpu(x, y, y, 0.0, False, "
            "attn_mask=torch.zeros(w.shape).masked_fill(~w, -float('inf')))[0]"},
           {q, k, v, some});
  // Left padding under a causal mask, as models build it while they run.
  check("def forward(self, x, y):\n"
        "  causal = torch.ones(5, 5).tril() > 0\n"
        "  mask = causal & y[:, None, None, :]\n"
        "  return torch.scaled_dot_product_attention(x, x, x, attn_mask=mask)\n",
        {q, at::arange(5).ge(at::arange(2).unsqueeze(1) * 2)});
  // The fused layers: 0 where the layers give it outside of PyTorch's fast path, and no NaN.
  auto [padded, reference] =
      outputs("torch._native_multi_head_attention(x, x, x, 8, 2, "
              "torch.sin(torch.arange(192.)).view(24, 8), torch.sin(torch.arange(24.)), "
              "torch.cos(torch.arange(64.)).view(8, 8), torch.cos(torch.arange(8.)), y, False, "
              "False, 1)[0]",
              {randn({2, 3, 8}), at::tensor({0, 0, 1, 1, 1, 1}).view({2, 3}).to(at::kBool)});
  ASSERT_TRUE(padded.defined());
  EXPECT_TRUE(at::allclose(padded[0], reference[0], 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(padded[1], at::cos(at::arange(8.)).expand({3, 8}), 1e-4, 1e-5));
}

TEST(Attention, MasksThatHideNoRowCostNothing) {
  std::string sdpa = "torch.scaled_dot_product_attention";
  std::vector<at::Tensor> qkv = {randn({2, 4, 5, 8}), randn({2, 4, 5, 8}), randn({2, 4, 5, 6})};
  using Kinds = std::vector<std::string>;
  for (const char *rest :
       {")", ", is_causal=True)", ", attn_mask=torch.ones(5, 5).tril() > 0)",
        ", attn_mask=torch.zeros(5, 5).masked_fill(torch.ones(5, 5).tril() == 0, -float('inf')))",
        ", attn_mask=torch.full([5, 5], -3.4e38).triu(1))"})
    EXPECT_EQ(operations(sdpa + "(x, y, z" + rest, qkv), Kinds{"scaled_dot_product_attention"})
        << rest;
  // Finite, whatever the mask is.
  qkv.push_back(randbool({5, 5}));
  EXPECT_EQ(operations(sdpa + "(x, y, z, attn_mask=(1.0 - w.float()) * -3.4e38)", qkv),
            (Kinds{"cast", "mul", "add", "mul", "scaled_dot_product_attention"}));
  // One multiplication where the rows are known.
  EXPECT_EQ(operations(sdpa + "(x, y, z, attn_mask=torch.ones(5, 5).tril(-1) > 0)", qkv),
            (Kinds{"scaled_dot_product_attention", "mul"}));
}

TEST(Attention, FusedLayers) {
  check("torch._transformer_encoder_layer_fwd(x, 8, 2, torch.sin(torch.arange(192.)).view(24, 8), "
        "torch.arange(24.) * 0.01, torch.cos(torch.arange(64.)).view(8, 8), torch.arange(8.) * "
        "0.02, False, "
        "False, 1e-5, torch.ones(8), torch.zeros(8), torch.ones(8), torch.zeros(8), "
        "torch.sin(torch.arange(128.)).view(16, 8), torch.zeros(16), "
        "torch.cos(torch.arange(128.)).view(8, 16), "
        "torch.zeros(8))",
        {randn({2, 5, 8})}, {.rtol = 1e-3, .atol = 1e-4});
}

TEST(Convolution, Forward) {
  std::string f = "torch.";
  check(f + "conv1d(x, y, z)", {randn({2, 3, 10}), randn({4, 3, 3}), randn({4})});
  check(f + "conv2d(x, y, z, stride=2, padding=1)",
        {randn({2, 3, 9, 8}), randn({4, 3, 3, 3}), randn({4})});
  check(f + "conv2d(x, y, None, stride=[2, 1], padding=[1, 2])",
        {randn({2, 3, 9, 8}), randn({4, 3, 3, 3})});
  check(f + "conv3d(x, y)", {randn({1, 2, 5, 6, 7}), randn({3, 2, 2, 3, 2})});
  check(f + "conv2d(x, torch.sin(torch.arange(72.)).view(4, 2, 3, 3), torch.arange(4.), padding=2, "
            "dilation=2, groups=2)",
        {randn({2, 4, 9, 8})});
  check(f + "conv2d(x, torch.sin(torch.arange(16.)).view(4, 1, 2, 2), padding='same', groups=4)",
        {randn({2, 4, 9, 8})});
  check(f + "conv1d(x, torch.sin(torch.arange(16.)).view(2, 2, 4), padding='same', dilation=3)",
        {randn({2, 2, 12})});
  check(f + "conv2d(x, y, padding='valid')", {randn({2, 3, 9, 8}), randn({4, 3, 3, 3})});
  check(f + "conv2d(x, y)", {randn({3, 9, 8}), randn({4, 3, 3, 3})});
  check("torch.convolution(x, y, z, [1], [1], [1], False, [0], 1)",
        {randn({2, 3, 10}), randn({4, 3, 3}), randn({4})});
  EXPECT_THAT(refusal(f + "conv2d(x, y, dilation=2)", {randn({2, 3, 9, 8}), randn({4, 3, 3, 3})}),
              HasSubstr("dilated"));
}

TEST(Convolution, Transposed) {
  std::string f = "torch.conv_transpose";
  check(f + "1d(x, y, z, stride=2)", {randn({2, 3, 6}), randn({3, 4, 3}), randn({4})});
  check(f + "2d(x, y, z, stride=2, padding=1)",
        {randn({2, 3, 6, 5}), randn({3, 4, 3, 3}), randn({4})});
  check(f + "2d(x, y, z, stride=2, padding=1, output_padding=1)",
        {randn({2, 3, 6, 5}), randn({3, 4, 3, 3}), randn({4})});
  check(f + "2d(x, y, z, stride=3, padding=0, output_padding=[2, 1])",
        {randn({2, 3, 4, 5}), randn({3, 4, 3, 3}), randn({4})});
  check(f + "2d(x, y, None, stride=2, padding=1, groups=2, dilation=2)",
        {randn({2, 4, 6, 5}), randn({4, 3, 3, 3})});
  check(f + "3d(x, y, stride=2)", {randn({1, 2, 3, 4, 3}), randn({2, 3, 2, 2, 2})});
  check(f + "1d(x, y)", {randn({3, 6}), randn({3, 4, 3})});
}

TEST(Normalization, Batch) {
  std::string bn =
      "torch.batch_norm(x, torch.arange(3.) + 2, torch.arange(3.) - 1, torch.arange(3.), "
      "torch.arange(3.) + 1, False, 0.1, 0.01, False)";
  for (auto shape :
       std::vector<std::vector<int64_t>>{{4, 3}, {4, 3, 5}, {4, 3, 5, 6}, {2, 3, 4, 3, 2}})
    check(bn, {randn(shape)});
  check("torch.batch_norm(x, None, None, y, z, False, 0.1, 1e-5, False)",
        {randn({4, 3, 5}), randn({3}), rand({3}, 0.5, 2)});
  check("torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False)", {randn({4, 3, 5})});
}

TEST(Normalization, Others) {
  std::string f = "torch.";
  at::Tensor x = randn({2, 6, 5, 4}) * 2 + 1;
  checkAll(
      {f + "layer_norm(x, [4])",
       f + "layer_norm(x, [5, 4], torch.arange(20.).view(5, 4), torch.ones(5, 4))",
       f + "group_norm(x, 3)", f + "group_norm(x, 2, torch.arange(6.), torch.arange(6.) - 1, 1e-3)",
       "torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, False)",
       "torch.instance_norm(x, torch.arange(6.), torch.arange(6.) - 2, None, None, True, 0.1, "
       "1e-5, False)",
       "torch.rms_norm(x, [4])", "torch.rms_norm(x, [5, 4], torch.arange(20.).view(5, 4), 1e-3)",
       "torch.native_layer_norm(x, [4], torch.arange(4.), None, 1e-5)",
       "torch.native_group_norm(x, torch.arange(6.), None, 2, 6, 20, 3, 1e-5)[0]"},
      {x});
  check(f + "layer_norm(x, [4], y, z)", {x, randn({4}), randn({4})});
  check("torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, False)",
        {randn({2, 3, 7})});
  check("torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, False)",
        {randn({2, 3, 4, 3, 2})});
  check(f + "group_norm(x, 2)", {randn({3, 4})});
  check(f + "group_norm(x, 2)", {randn({2, 4, 3, 2, 3})});
  check("torch._weight_norm(x, y, 0)", {randn({4, 3, 2}), randn({4, 1, 1})});
  check("torch._weight_norm(x, y, 2)", {randn({4, 3, 2}), randn({1, 1, 2})});
}

/// TorchScript for a weight of rows x columns (a vector where columns is 0) with mixed values.
static std::string weight(int rows, int columns, int phase) {
  int n = rows * std::max(columns, 1);
  std::string flat = "(torch.sin(torch.arange(" + std::to_string(n) + ".) * 1.7 + " +
                     std::to_string(phase) + ") * 0.5)";
  return columns ? flat + ".view(" + std::to_string(rows) + ", " + std::to_string(columns) + ")"
                 : flat;
}

TEST(Recurrent, LayersAndDirections) {
  struct Kind {
    const char *name;
    int gates;
  };
  for (Kind kind : {Kind{"lstm", 4}, Kind{"gru", 3}, Kind{"rnn_tanh", 1}, Kind{"rnn_relu", 1}})
    for (int layers : {1, 2})
      for (int directions : {1, 2})
        for (bool biases : {true, false}) {
          std::string params;
          for (int i = 0; i < layers * directions; ++i) {
            int in = i < directions ? 4 : 3 * directions, rows = 3 * kind.gates;
            params += (i ? ", " : "") + weight(rows, in, i) + ", " + weight(rows, 3, i + 5);
            if (biases)
              params += ", " + weight(rows, 0, i + 9) + ", " + weight(rows, 0, i + 2);
          }
          bool lstm = kind.gates == 4;
          std::vector<at::Tensor> inputs = {randn({5, 2, 4}), randn({layers * directions, 2, 3})};
          if (lstm)
            inputs.push_back(randn({layers * directions, 2, 3}));
          bool batchFirst = layers == 2;
          if (batchFirst)
            inputs[0] = randn({2, 5, 4});
          check("torch." + std::string(kind.name) + "(x, " + (lstm ? "[y, z]" : "y") + ", [" +
                    params + "], " + (biases ? "True" : "False") + ", " + std::to_string(layers) +
                    ", 0.0, False, " + (directions == 2 ? "True" : "False") + ", " +
                    (batchFirst ? "True" : "False") + ")",
                inputs);
        }
}

TEST(Recurrent, Projections) {
  for (int layers : {1, 2})
    for (int directions : {1, 2})
      for (bool biases : {true, false}) {
        // 4 inputs, 5 in a cell, of which 3 are given on.
        std::string params;
        for (int i = 0; i < layers * directions; ++i) {
          int in = i < directions ? 4 : 3 * directions;
          params += (i ? ", " : "") + weight(20, in, i) + ", " + weight(20, 3, i + 5);
          if (biases)
            params += ", " + weight(20, 0, i + 9) + ", " + weight(20, 0, i + 2);
          params += ", " + weight(3, 5, i + 3);
        }
        std::string rest = std::string("[") + params + "], " + (biases ? "True" : "False") + ", " +
                           std::to_string(layers) + ", 0.0, False, " +
                           (directions == 2 ? "True" : "False");
        int states = layers * directions;
        std::vector<at::Tensor> inputs = {randn({6, 2, 4}), randn({states, 2, 3}),
                                          randn({states, 2, 5})};
        check("torch.lstm(x, [y, z], " + rest + ", False)", inputs);
        std::string count = std::to_string(states);
        check("torch.lstm(x, [torch.zeros(" + count + ", x.size(0), 3), torch.zeros(" + count +
                  ", x.size(0), 5)], " + rest + ", True)",
              {randn({2, 6, 4})});
      }
  std::string one = "[" + weight(20, 4, 0) + ", " + weight(20, 3, 5) + ", " + weight(3, 5, 3) + "]";
  std::string zeros = "[torch.zeros(1, x.size(1), 3), torch.zeros(1, x.size(1), 5)]";
  checkDynamic("torch.lstm(x, " + zeros + ", " + one + ", False, 1, 0.0, False, False, False)",
               {randn({6, 2, 4})}, {0, 1});
  // A layer that is given no states is one operation and the projection.
  EXPECT_THAT(
      operations("torch.lstm(x, " + zeros + ", " + one + ", False, 1, 0.0, False, False, False)[0]",
                 {randn({6, 2, 4})}),
      testing::Not(testing::AnyOf(testing::Contains("select"), testing::Contains("concat"))));
}

TEST(Recurrent, Cells) {
  struct Kind {
    const char *name;
    int gates;
  };
  for (Kind kind : {Kind{"lstm", 4}, Kind{"gru", 3}, Kind{"rnn_tanh", 1}, Kind{"rnn_relu", 1}})
    for (bool biases : {true, false}) {
      int rows = 3 * kind.gates;
      bool lstm = kind.gates == 4;
      std::string params = weight(rows, 4, 1) + ", " + weight(rows, 3, 5);
      if (biases)
        params += ", " + weight(rows, 0, 9) + ", " + weight(rows, 0, 2);
      std::vector<at::Tensor> inputs = {randn({2, 4}), randn({2, 3})};
      if (lstm)
        inputs.push_back(randn({2, 3}));
      check("torch." + std::string(kind.name) + "_cell(x, " + (lstm ? "[y, z]" : "y") + ", " +
                params + ")",
            inputs);
    }
}

TEST(Attention, Weights) {
  std::string layer = "torch._native_multi_head_attention(x, x, x, 8, 2, "
                      "torch.sin(torch.arange(192.)).view(24, 8), torch.sin(torch.arange(24.)), "
                      "torch.cos(torch.arange(64.)).view(8, 8), torch.cos(torch.arange(8.))";
  for (const char *rest : {")", ", None, True, True)", ", None, True, False)", ", None, False)[0]"})
    check(layer + rest, {randn({3, 5, 8})});
  check(layer + ", y, True, True, 1)", {randn({3, 5, 8}), randn({3, 5}) > 0.8});
  check(layer + ", y, True, False, 0)", {randn({3, 5, 8}), randn({5, 5}) > 0.8});
}

TEST(Linear, DynamicSizes) {
  checkDynamic("torch.linear(x, torch.arange(12.).view(3, 4), torch.arange(3.))",
               {randn({5, 2, 4})}, {0});
  checkDynamic("x @ y", {randn({5, 3, 4}), randn({4, 2})}, {0, 1});
  checkDynamic("torch.einsum('bqhd,bkhd->bhqk', x, x)", {randn({2, 4, 3, 5})}, {0, 1});
  checkDynamic("torch.scaled_dot_product_attention(x, x, x, is_causal=True)", {randn({2, 3, 5, 8})},
               {2});
  checkDynamic("torch.conv2d(x, torch.arange(54.).view(2, 3, 3, 3), padding=1)",
               {randn({1, 3, 6, 7})}, {2, 3});
  checkDynamic("torch.group_norm(x, 2)", {randn({3, 4, 5})}, {0, 2});
  checkDynamic("torch.layer_norm(x, [4])", {randn({3, 5, 4})}, {1});
}

} // namespace plait::frontend
