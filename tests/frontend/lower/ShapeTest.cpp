// Reductions, ordering, pooling, indexing, scattering, joining, padding, resizing, creation.
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

namespace plait::frontend {

using testing::HasSubstr;

TEST(Reduction, Floats) {
  at::Tensor x = randn({2, 3, 4});
  checkAll({"x.sum()",
            "x.sum(1)",
            "x.sum([0, 2], keepdim=True)",
            "x.sum(-1, dtype=7)",
            "x.mean()",
            "x.mean(1)",
            "x.mean([1, 2], True)",
            "x.prod()",
            "x.prod(1, True)",
            "x.amax()",
            "x.amax([0, 1])",
            "x.amin(-1, True)",
            "x.max()",
            "x.min()",
            "x.max(1)",
            "x.min(-1, True)",
            "torch.max(x, 1)[0]",
            "x.argmax()",
            "x.argmax(1)",
            "x.argmin(-1, keepdim=True)",
            "x.argmax(None, True)",
            "torch.aminmax(x, dim=1)",
            "x.std()",
            "x.std(1)",
            "x.std(1, unbiased=False)",
            "x.var()",
            "x.var([0, 2], unbiased=False, keepdim=True)",
            "torch.var(x, dim=1, correction=2)",
            "torch.std(x, dim=[1], correction=0, keepdim=True)",
            "torch.var_mean(x, 1)",
            "torch.std_mean(x, dim=1, correction=0)",
            "x.norm()",
            "torch.norm(x, 2, 1)",
            "torch.norm(x, 1, [1, 2], True)",
            "torch.linalg_vector_norm(x)",
            "torch.linalg_vector_norm(x, 3, 1)",
            "torch.linalg_vector_norm(x, float('inf'), 1)",
            "torch.linalg_vector_norm(x, 0, 1)",
            "torch.linalg_vector_norm(x, -float('inf'))",
            "torch.linalg_norm(x, dim=1)",
            "torch.linalg_matrix_norm(x)",
            "torch.linalg_matrix_norm(x, 1)",
            "torch.linalg_matrix_norm(x, float('inf'), [0, 2], True)",
            "torch.logsumexp(x, 1)",
            "torch.logsumexp(x, [0, 1], True)",
            "torch.count_nonzero(x > 0)",
            "torch.nansum(x, 1)",
            "x.nanmean(1)",
            "torch.all(x > -1)",
            "torch.any(x > 1, 1)",
            "torch.all(x, 1, True)",
            "x.frobenius_norm([1])",
            "torch.mean(x, dim=None)"},
           {x});
  EXPECT_THAT(refusal("torch.linalg_matrix_norm(x, 2)", {x}), HasSubstr("singular"));
}

TEST(Reduction, OtherTypes) {
  at::Tensor x = randint(-4, 5, {3, 4});
  checkAll({"x.sum()", "x.sum(1)", "x.prod(0)", "x.sum(dtype=6)", "x.max()", "x.amin(1)",
            "x.max(1)", "x.argmax(1)", "x.any()", "x.all(1)", "torch.count_nonzero(x, 1)",
            "x.sum(dtype=3)"},
           {x});
  at::Tensor b = randbool({3, 4});
  checkAll({"x.sum()", "x.sum(1)", "x.any(1)", "x.all()", "x.max()", "x.amax(1)", "x.prod(1)",
            "torch.logsumexp(x.float(), 1)"},
           {b});
  at::Tensor s = at::scalar_tensor(2.5);
  checkAll({"x.sum()", "x.mean()", "x.sum(0)", "x.max()", "x.max(0)", "x.argmax()", "x.prod()",
            "x.norm()", "x.cumsum(0)", "x.logsumexp(0)"},
           {s});
  checkDynamic("x.mean(0)", {randn({3, 4})}, {0});
  checkDynamic("x.var(0)", {randn({3, 4})}, {0});
  checkDynamic("x.sum([0, 1])", {randn({3, 4})}, {0});
}

TEST(Ordering, All) {
  at::Tensor x = randn({3, 5});
  checkAll({"x.cumsum(1)", "x.cumsum(-2)", "x.cumprod(1)", "torch.logcumsumexp(x, 1)",
            "torch.cummax(x, 1)", "torch.cummin(x, 0)", "torch.sort(x)",
            "torch.sort(x, 0, descending=True)", "torch.sort(x, stable=True, dim=1)",
            "torch.argsort(x, 1)", "torch.msort(x)", "torch.topk(x, 2)",
            "torch.topk(x, 2, 0, largest=False)", "torch.kthvalue(x, 2)", "torch.median(x)",
            "torch.median(x, 1, True)"},
           {x});
  checkAll({"x.cumsum(0)", "x.cumsum(0, dtype=6)", "torch.topk(x, 3)[0]", "x.cumprod(0)"},
           {randint(1, 9, {4})});
  check("x.cumsum(1)", {randbool({2, 5})});
  check("torch.bucketize(x, y)", {randn({3, 4}), floats({-1, 0, 0.5, 1})});
  check("torch.searchsorted(x, y, right=True)", {floats({1, 2, 2, 3}), floats({2, 0, 3, 5})});
  check("torch.searchsorted(x, y)", {std::get<0>(randn({2, 5}).sort(1)), randn({2, 3})});
}

TEST(Pooling, Max) {
  std::string f = "torch.max_pool";
  at::Tensor x = randn({2, 3, 10, 9});
  checkAll({f + "2d(x, 3)", f + "2d(x, [3, 2], stride=2, padding=1)",
            f + "2d(x, 2, ceil_mode=True)", f + "2d(x, 3, 2, 1, 1, True)",
            f + "2d(x, 2, stride=1, dilation=2)", f + "2d(x, 3, stride=2, padding=1, dilation=2)",
            "torch.max_pool2d_with_indices(x, 2)[0]", f + "2d(x[0], 3)"},
           {x});
  check(f + "1d(x, 3, 2)", {randn({2, 3, 11})});
  check(f + "3d(x, 2, ceil_mode=True)", {randn({1, 2, 5, 6, 7})});
  checkAll({"torch.max_pool2d_with_indices(x, 2)",
            "torch.max_pool2d_with_indices(x, [3, 2], [2, 1], [1, 1])",
            "torch.max_pool2d_with_indices(x[0], 3, 2, 1, 1, True)",
            "torch.max_pool2d_with_indices((x * 2).round(), [2, 3], [1, 2], 0, [2, 1])",
            "torch.max_pool1d_with_indices(x[0], 3, 2, 1)", "torch.adaptive_max_pool1d(x[0], 5)",
            "torch.adaptive_max_pool2d(x, [3, 2])", "torch.adaptive_max_pool2d(x, [1, 4])"},
           {x});
  checkDynamic("torch.max_pool2d_with_indices(x, 2)", {x}, {0});
  check("def forward(self, x):\n  y, i = torch.max_pool2d_with_indices(x, 2)\n"
        "  return torch.max_unpool2d(y * 2, i, [x.size(2), x.size(3)])\n",
        {x});
  EXPECT_THAT(refusal("torch.max_pool3d_with_indices(x, 2)[1]", {x}), HasSubstr("indices"));
}

TEST(Pooling, Average) {
  std::string f = "torch.avg_pool";
  at::Tensor x = randn({2, 3, 10, 9});
  checkAll({f + "2d(x, 3)", f + "2d(x, 3, 2, 1)", f + "2d(x, 3, 2, 1, count_include_pad=False)",
            f + "2d(x, 3, 2, 1, True)", f + "2d(x, 3, 2, 1, True, False)",
            f + "2d(x, 4, 3, 2, True, True)", f + "2d(x, 3, 2, 1, divisor_override=5)",
            f + "2d(x, [2, 3], ceil_mode=True)", f + "2d(x[0], 3)"},
           {x});
  check(f + "1d(x, 3, 2, 1)", {randn({2, 3, 11})});
  check(f + "3d(x, 2, ceil_mode=True)", {randn({1, 2, 5, 6, 7})});
}

TEST(Pooling, Adaptive) {
  at::Tensor x = randn({2, 3, 12, 10});
  for (const char *size : {"1", "[1, 1]", "[6, 5]", "[5, 3]", "[1, 4]", "[12, 10]", "7"}) {
    check("torch.adaptive_avg_pool2d(x, " + std::string(size) + ")", {x});
    check("torch.adaptive_max_pool2d(x, " + std::string(size) + ")[0]", {x});
  }
  check("torch.adaptive_avg_pool1d(x, 4)", {randn({2, 3, 10})});
  check("torch.adaptive_max_pool1d(x, 5)[0]", {randn({2, 3, 10})});
  check("torch.adaptive_avg_pool3d(x, [2, 3, 1])", {randn({1, 2, 4, 5, 6})});
  checkDynamic("torch.adaptive_avg_pool2d(x, 1)", {x}, {2, 3});
}

TEST(Indexing, Reading) {
  at::Tensor x = randn({5, 4, 3}), i = randint(0, 5, {2, 3});
  check("torch.embedding(y, x)", {i, randn({5, 4})});
  check("torch.index_select(x, 0, y)", {x, ints({4, 0, 2})});
  check("torch.index_select(x, -1, y)", {x, ints({2, 0})});
  check("torch.gather(x, 0, y)", {randn({5, 3}), randint(0, 5, {2, 3})});
  check("torch.gather(x, 1, y)", {randn({5, 4}), randint(0, 4, {3, 6})});
  check("torch.gather(x, 1, y)", {randbool({5, 4}), randint(0, 4, {5, 2})});
  check("torch.take_along_dim(x, y, 1)", {randn({5, 4}), randint(0, 4, {1, 2})});
  check("torch.take(x, y)", {randn({5, 4}), ints({0, -1, 7})});
  check("x[y]", {x, i});
  check("x[:, y]", {x, ints({3, -1, 0})});
  check("x[y, z]", {x, ints({4, 1}), ints({0, -1})});
  check("x[:, y, z]", {x, ints({3, 1}), ints({0, -1})});
  check("x[y, :, z]", {x, ints({4, 1}), ints({0, 2})});
  check("x[y, 1]", {x, ints({4, 1})});
  check("x[y]", {x, at::scalar_tensor(3, at::kLong)});
  check("x[torch.tensor([True, False, True, True, False])]", {x});
  check("x[:, torch.tensor([True, False, True, True])]", {x});
  check("x[y.unsqueeze(1), z]", {x, ints({4, 1}), ints({0, 2, 3})});
  check("torch.one_hot(x, 6)", {i});
}

TEST(Indexing, Writing) {
  at::Tensor x = randn({4, 5});
  check("x.scatter(1, y, z)", {x, ints({0, 2, 4, 1}).view({4, 1}), randn({4, 1})});
  check("x.scatter(1, y, z)", {x, ints({0, 2, 4, 1}).view({2, 2}), randn({3, 3})});
  check("x.scatter(0, y, 2.5)", {x, ints({0, 2, 3, 1}).view({1, 4})});
  check("x.scatter_add(0, y, z)", {x, randint(0, 4, {3, 5}), randn({3, 5})});
  check("torch.scatter(x, 1, y, z, reduce='multiply')",
        {x, ints({0, 2, 4, 1}).view({4, 1}), randn({4, 1})});
  for (const char *mode : {"sum", "prod", "amax", "amin", "mean"})
    for (const char *self : {"True", "False"})
      check("x.scatter_reduce(0, y, z, '" + std::string(mode) + "', include_self=" + self + ")",
            {x, randint(0, 4, {3, 5}), randn({3, 5})});
  check("x.index_add(0, y, z, alpha=2)", {x, ints({1, 3, 1}), randn({3, 5})});
  check("x.index_copy(1, y, z)", {x, ints({1, 3}), randn({4, 2})});
  check("x.index_fill(1, y, 3.0)", {x, ints({1, -1})});
  check("x.index_put([y], z)", {x, ints({1, -1}), randn({2, 5})});
  check("x.index_put([y], z, accumulate=True)", {x, ints({1, 1}), randn({2, 5})});
  check("x.index_put([y, z], w)", {x, ints({1, 2}), ints({0, 4}), randn({2})});
  // Nothing is written, whatever the values' shape.
  check("def forward(self, x, y):\n  z = x.clone()\n  none = torch.zeros([4], dtype=11)\n"
        "  z[none] = y[0]\n  z[none] = y\n  z[:, torch.zeros([5], dtype=11)] = 1.0\n"
        "  z[torch.zeros([4, 5], dtype=11)] = 2.0\n"
        "  return z, z.index_put([torch.arange(0)], y, accumulate=True)\n",
        {x, randn({1, 5})});
  check(
      "def forward(self, x, y):\n  z = x.clone()\n  z[:, y] = 1.0\n  z[y > 2] = 2.0\n  return z\n",
      {randn({4, 4}), ints({0, 1, 2, 3})});
  check("def forward(self, x):\n  z = x.clone()\n  z[z > 0] = 0.5\n  return z\n", {x});
  // What a mask selected goes back by the same one. It may be nothing, and all of it.
  for (double level : {-9.0, 0.0, 9.0})
    check("def forward(self, x, y):\n  m = y > 0\n"
          "  z = x.masked_scatter(m.unsqueeze(-1), torch.exp(x[m]))\n"
          "  return z.masked_scatter(~m.unsqueeze(-1), z[~m] * 2 - 1), "
          "x.masked_scatter(x > 0, x[x > 0].cumsum(0)), "
          "x.masked_scatter(y.unsqueeze(-1) > 1, x[y > 0])\n",
          {x, randn({4}) + level});
  EXPECT_THAT(
      operations("x.masked_scatter((y > 0).unsqueeze(-1), torch.exp(x[y > 0]))", {x, randn({4})}),
      testing::Not(testing::Contains("non_zero")));
  check("x.slice_scatter(y, 1, 1, 3)", {x, randn({4, 2})});
  check("x.slice_scatter(y, 1, 0, 5, 2)", {x, randn({4, 3})});
  check("x.select_scatter(y, 0, -1)", {x, randn({5})});
}

TEST(Joining, All) {
  at::Tensor x = randn({2, 3}), y = randn({2, 3});
  checkAll({"torch.cat([x, y])", "torch.cat([x, y], -1)", "torch.stack([x, y])",
            "torch.stack([x, y], 1)", "torch.stack([x, y], -1)", "torch.stack([x], 1)",
            "torch.hstack([x, y])", "torch.vstack([x, y])", "torch.dstack([x, y])",
            "torch.column_stack([x[0], y[0]])", "torch.cat([x, torch.zeros(0)], 0)",
            "torch.cat([x > 0, y > 0])", "torch.cat([x, (y > 0).long()])",
            "torch.stack([x[0, 0], y[0, 0]])", "torch.hstack([x[0], y[1]])", "torch.atleast_3d(x)"},
           {x, y});
  checkAll({"x.repeat(2, 1)", "x.repeat(2, 1, 3)", "torch.tile(x, [2])", "torch.tile(x, [2, 1, 2])",
            "x.repeat_interleave(2)", "x.repeat_interleave(3, 1)",
            "x.repeat_interleave(torch.tensor([2, 1]), 0)", "torch.flip(x, [0, 1])",
            "torch.fliplr(x)", "torch.flipud(x)", "torch.rot90(x)", "torch.rot90(x, 3)",
            "torch.rot90(x, 2, [1, 0])", "torch.roll(x, 1)", "torch.roll(x, [1, -2], [0, 1])",
            "torch.roll(x, [1, 2], [1, 0])", "torch.broadcast_tensors(x, x[0])"},
           {x});
  check("torch.meshgrid([x, y], indexing='ij')", {randn({3}), randn({4})});
  check("torch.meshgrid([x, y], indexing='xy')", {randn({3}), randn({4})});
  checkDynamic("torch.cat([x, x + 1], 0)", {randn({3, 4})}, {0});
  checkDynamic("torch.roll(x, 2, 0)", {randn({3, 4})}, {0});
  checkDynamic("x.repeat_interleave(2, 0)", {randn({3, 4})}, {0});
}

TEST(Padding, All) {
  std::string f = "torch.pad(x, ";
  at::Tensor x = randn({2, 3, 5, 6});
  checkAll({f + "[1, 2])", f + "[1, 2, 0, 3], value=2.5)", f + "[1, -2, -1, 3])",
            f + "[0, 0, 0, 0, 1, 1])", f + "[1, 2, 2, 1], mode='reflect')",
            f + "[1, 2, 2, 1], mode='replicate')", f + "[1, 2, 2, 1], mode='circular')",
            f + "[-1, 2, 0, 0], mode='replicate')"},
           {x});
  check(f + "[1, 2])", {randint(0, 9, {2, 3})});
  check(f + "[1, 2], value=1.0)", {randbool({2, 3})});
  check(f + "[1, 1, 1, 1, 2, 1], mode='replicate')", {randn({1, 2, 3, 4, 3})});
  check(f + "[1, 1, 1, 1, 2, 1], mode='reflect')", {randn({1, 2, 4, 4, 3})});
  check(f + "[2, 1], mode='circular')", {randn({1, 2, 4})});
  for (const char *d : {"-2", "-1", "0", "1", "3"}) {
    check("torch.tril(x, " + std::string(d) + ")", {x});
    check("torch.triu(x, " + std::string(d) + ")", {x});
  }
  check("torch.triu(x, 1)", {at::full({4, 4}, -INFINITY)});
  check("torch.tril(x)", {randbool({4, 4})});
  checkAll({"torch.diagonal(x, 0, 2, 3)", "torch.diagonal(x, 1, 0, 1)", "torch.diag_embed(x)",
            "torch.diag_embed(x[0], 1)", "torch.diag_embed(x[0], -1, 0, 2)", "x[0, 0].trace()",
            "torch.diag(x[0, 0], -1)", "torch.diag(x[0, 0, 0], 2)"},
           {randn({2, 3, 3, 4})});
}

TEST(Resizing, All) {
  at::Tensor x = randn({2, 3, 5, 6});
  checkAll(
      {"torch.upsample_nearest2d(x, None, [2.0, 2.0])",
       "torch.upsample_nearest2d(x, [10, 18], None)", "torch.upsample_nearest2d(x, [7, 9])",
       "torch.upsample_nearest2d(x, [3, 4])", "torch.upsample_nearest2d(x, None, [1.5, 1.5])",
       "torch._upsample_nearest_exact2d(x, None, [2.0, 3.0])",
       "torch._upsample_nearest_exact2d(x, [7, 4])",
       "torch.upsample_bilinear2d(x, None, False, [2.0, 2.0])",
       "torch.upsample_bilinear2d(x, None, True, [2.0, 2.0])",
       "torch.upsample_bilinear2d(x, [7, 9], False)", "torch.upsample_bilinear2d(x, [7, 9], True)",
       "torch.upsample_bilinear2d(x, [3, 2], False)", "torch.upsample_bilinear2d(x, [1, 4], True)",
       "torch.upsample_bilinear2d(x, None, False, [1.3, 1.3])",
       "torch.upsample_bicubic2d(x, [8, 11], False)", "torch.upsample_bicubic2d(x, [8, 11], True)"},
      {x});
  check("torch.upsample_nearest1d(x, None, [2.0])", {randn({2, 3, 5})});
  check("torch.upsample_linear1d(x, [7], False)", {randn({2, 3, 5})});
  check("torch.upsample_linear1d(x, [7], True)", {randn({2, 3, 5})});
  check("torch.upsample_nearest3d(x, None, [2.0, 2.0, 2.0])", {randn({1, 2, 3, 4, 3})});
  check("torch.upsample_trilinear3d(x, [5, 6, 4], False)", {randn({1, 2, 3, 4, 3})});
  check("torch.grid_sampler(x, y, 0, 0, False)", {x, rand({2, 4, 4, 2}, -1.1, 1.1)});
  check("torch.grid_sampler(x, y, 1, 1, True)", {x, rand({2, 4, 4, 2}, -1.1, 1.1)});
  check("torch.affine_grid_generator(x, [2, 3, 4, 5], False)", {randn({2, 2, 3})});
  checkDynamic("torch.upsample_nearest2d(x, None, [2.0, 2.0])", {x}, {2, 3});
  checkDynamic("torch.upsample_bilinear2d(x, None, False, [2.0, 2.0])", {x}, {2, 3});
  for (const char *form : {"[7, 9], False", "[3, 2], True", "[1, 1], True", "[1, 13], False",
                           "None, False, [2.0, 3.0]", "None, True, [2.0, 2.0]"})
    checkDynamic("torch.upsample_bicubic2d(x, " + std::string(form) + ")", {x}, {2, 3});
  check("torch.upsample_bicubic2d(x, [int(y[0].item()), int(y[1].item())], False)",
        {x, ints({7, 3})});
  EXPECT_THAT(
      refusal("torch.upsample_bicubic2d(x, [9, 9], False, 1.7, 1.7)", {x}, {.dynamic = {2, 3}}),
      testing::HasSubstr("give the size alone"));
}

TEST(Resizing, ToSizesOfTheInput) {
  // As decoders do: to the size of an earlier feature map.
  for (const char *call : {"upsample_bilinear2d(x[:, :, ::2, ::2], [x.size(2), x.size(3)], False)",
                           "upsample_bilinear2d(x[:, :, ::2, ::2], [x.size(2), x.size(3)], True)",
                           "upsample_bilinear2d(x, [4, x.size(3) * 2], False)",
                           "upsample_bilinear2d(x, [7, 9], False)",
                           "upsample_nearest2d(x[:, :, ::2, ::2], [x.size(2), x.size(3)])",
                           "_upsample_nearest_exact2d(x[:, :, ::2, ::2], [x.size(2), x.size(3)])",
                           "upsample_linear1d(x[:, :, 0, ::3], [x.size(3)], False)"})
    for (auto shape : std::vector<std::vector<int64_t>>{{2, 3, 5, 6}, {1, 2, 8, 9}})
      checkDynamic("torch." + std::string(call), {randn(shape)}, {2, 3});
}

TEST(Patches, All) {
  check("torch.pixel_shuffle(x, 2)", {randn({2, 8, 3, 4})});
  check("torch.pixel_shuffle(x, 2)", {randn({8, 3, 4})});
  check("torch.pixel_unshuffle(x, 2)", {randn({2, 3, 4, 6})});
  check("torch.channel_shuffle(x, 2)", {randn({2, 6, 3, 4})});
  check("torch.im2col(x, [2, 3], [1, 1], [1, 1], [2, 2])", {randn({2, 3, 6, 7})});
  check("torch.im2col(x, 2, 2, 0, 1)", {randn({3, 6, 7})});
  checkDynamic("torch.im2col(x, [2, 3], [1, 1], [1, 1], [2, 2])", {randn({2, 3, 6, 7})}, {0, 2});
  check("x.as_strided([2, 3, 4], [6, 2, 1])", {randn({3, 8})});
  check("x.as_strided([3, 2], [1, 4], 5), (x > 0).as_strided([4], [3])", {randn({3, 8})});
  checkDynamic("x.as_strided([x.size(0) - 1, 4], [x.stride(0), x.stride(1)], 2)", {randn({3, 6})},
               {0});
  // Views of row-major memory: from the view's first element, over all of the memory.
  check("x.t().as_strided([2], [1]), x[1].as_strided([2, 3], [8, 2]), x[1].as_strided([4], [2], 3)",
        {randn({3, 8})});
  check("x[1:, ::2].as_strided([2, 5], [3, 2]), x[1:].t()[2].as_strided([3], [4])",
        {randn({3, 8})});
  check("x.view(6, 2, 4).transpose(0, 1).as_strided([2, 5, 2, 4], [4, 8, 8, 1])", {randn({6, 8})});
  checkDynamic("x[1:].as_strided([x.size(0) - 2, 2, 6], [x.stride(0), 6, x.stride(1)])",
               {randn({4, 6})}, {0});
  // Padding lays its result out anew.
  check("torch.constant_pad_nd(x.t(), [1, 1], -1.0).as_strided([3, 4], [2, 3])", {randn({3, 8})});
  EXPECT_THAT(
      refusal("torch.constant_pad_nd(x.t(), [0, -1]).as_strided([3, 4], [2, 3])", {randn({3, 8})}),
      testing::HasSubstr("row-major"));
  EXPECT_THAT(refusal("(x.t() + 1).as_strided([2], [1])", {randn({3, 8})}),
              testing::HasSubstr("row-major"));
  check("torch.col2im(x, [6, 7], [2, 3], 1, 1, 2)", {randn({2, 18, 16})});
  check("x.unfold(1, 3, 2)", {randn({2, 8, 3})});
  check("x.unfold(-1, 3, 1)", {randn({2, 8})});
}

TEST(Creation, Sizes) {
  at::Tensor x = randn({3, 4});
  checkDynamic("torch.arange(x.size(0)) + x[:, 0]", {x}, {0});
  checkDynamic("torch.arange(1, x.size(0) + 1)", {x}, {0});
  checkDynamic("torch.arange(0, x.size(0), 2)", {x}, {0});
  checkDynamic("torch.arange(x.size(0), dtype=6)", {x}, {0});
  checkDynamic("torch.zeros(x.size(0), 2) + 1", {x}, {0});
  checkDynamic("torch.ones_like(x)", {x}, {0});
  checkDynamic("torch.full([x.size(0), 2], 3)", {x}, {0});
  checkDynamic("x.new_zeros([x.size(0)])", {x}, {0});
  checkDynamic("torch.full_like(x, 2.5)", {x}, {0});
  checkDynamic("torch.eye(x.size(0))", {x}, {0});
  checkDynamic("torch.tril(torch.ones(x.size(0), x.size(0)))", {x}, {0});
  checkDynamic("torch.triu(torch.full([x.size(0), x.size(0)], float('-inf')), diagonal=1)", {x},
               {0});
  checkDynamic("torch.linspace(0, 1, x.size(0))", {x}, {0});
  checkDynamic("torch.pad(x, [0, 1, 0, x.size(0)])", {x}, {0});
  check("torch.full([2, 3], x.item())", {at::scalar_tensor(1.5)});
  check("torch.tensor([float(x), 2.0])", {at::scalar_tensor(1.5)});
  check("torch.full_like(x, 2)", {randbool({3})});
}

} // namespace plait::frontend
