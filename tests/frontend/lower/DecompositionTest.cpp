// Operators that are said by others (frontend/decompositions), against LibTorch: each function at
// least once, with the arguments that change its way.
#include "support/Format.h"
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

namespace plait::frontend {
namespace {
using testing::HasSubstr;

TEST(Losses, OfClasses) {
  at::Tensor target = ints({3, 0, -100, 6, 2});
  for (const char *reduction : {"0", "1", "2"}) {
    checkAll({fmt::format("torch.nll_loss(x, y, None, {0})", reduction),
              fmt::format("torch.nll_loss(x, y, z, {0})", reduction),
              fmt::format("torch.nll_loss_forward(x, y, z, {0}, -100)", reduction),
              fmt::format("torch.cross_entropy_loss(x, y, None, {0})", reduction),
              fmt::format("torch.cross_entropy_loss(x, y, z, {0}, -100, 0.2)", reduction)},
             {randn({5, 7}), target, rand({7})});
    check(fmt::format("torch.cross_entropy_loss(x, y, z, {0}, -100, 0.2)", reduction),
          {randn({5, 7}), rand({5, 7}), rand({7})});
    check(fmt::format("torch.cross_entropy_loss(x, y, None, {0})", reduction),
          {randn({2, 4, 3}), randint(0, 4, {2, 3})});
    check(fmt::format("torch.nll_loss2d(x, y, None, {0})", reduction),
          {randn({2, 4, 3, 2}), randint(0, 4, {2, 3, 2})});
    checkAll({fmt::format("torch.multi_margin_loss(x, y, 2, 0.5, None, {0})", reduction),
              fmt::format("torch.multi_margin_loss(x, y, 1, 1, z, {0})", reduction)},
             {randn({3, 4}), ints({3, 0, 1}), rand({4})});
    check(fmt::format("torch.multilabel_margin_loss(x, y, {0}), "
                      "torch.multilabel_margin_loss_forward(x, y, {0})",
                      reduction),
          {randn({2, 4}), ints({3, 0, -1, 1, -1, 1, 2, 0}).view({2, 4})});
  }
  check("torch.nll_loss(x, y)", {randn({7}), ints({3}).squeeze()});
  checkDynamic("torch.cross_entropy_loss(x, y)", {randn({5, 7}), ints({3, 0, 1, 6, 2})}, {0});
}

TEST(Losses, OfValues) {
  at::Tensor signs = randbool({3, 4}).to(at::kFloat) * 2 - 1;
  for (const char *r : {"0", "1", "2"}) {
    checkAll({fmt::format("torch.kl_div(x, y, {0})", r),
              fmt::format("torch.kl_div(x, y, {0}, log_target=True)", r),
              fmt::format("torch.poisson_nll_loss(x, y, True, True, 1e-8, {0})", r),
              fmt::format("torch.poisson_nll_loss(y, x.abs(), False, False, 1e-8, {0})", r),
              fmt::format("torch.triplet_margin_loss(x, y, x * y, 1.0, 2.0, 1e-6, True, {0})", r),
              fmt::format("torch.margin_ranking_loss(x, y, z, 0.2, {0})", r),
              fmt::format("torch.soft_margin_loss(x, z, {0})", r),
              fmt::format("torch.hinge_embedding_loss(x, z, 1.0, {0})", r),
              fmt::format("torch.cosine_embedding_loss(x, y, z[:, 0], 0.1, {0})", r)},
             {randn({3, 4}), rand({3, 4}, 0.1, 1), signs});
  }
}

TEST(Products, OfGroups) {
  // Groups of eight elements, as LibTorch wants them; the second one is empty.
  at::Tensor offsets = ints({8, 8, 24});
  check("torch._grouped_mm(x, y, z.int())", {randn({24, 16}), randn({3, 16, 32}), offsets});
  check("torch._grouped_mm(x, y.transpose(1, 2), z.int())",
        {randn({24, 16}), randn({3, 32, 16}), offsets});
  check("torch._grouped_mm(x, y, z.int())", {randn({8, 24}), randn({24, 16}), offsets});
  check("torch._grouped_mm(x, y, z.int())", {randn({3, 8, 16}), randn({16, 24}), offsets});
  check("torch._grouped_mm(x, y)", {randn({3, 8, 16}), randn({3, 16, 32})});
  checkDynamic("torch._grouped_mm(x, y, z.int())", {randn({24, 16}), randn({3, 16, 32}), offsets},
               {0});
  EXPECT_THAT(
      refusal("torch._grouped_mm(x, y, z.int())", {randn({3, 8, 16}), randn({3, 16, 32}), offsets}),
      HasSubstr("whose groups are their first axis"));
}

TEST(Statistics, Quantiles) {
  at::Tensor x = randn({3, 5, 4}), missing = x.clone();
  missing[1][2] = NAN;
  missing[0] = NAN;
  for (const char *mode : {"linear", "lower", "higher", "midpoint", "nearest"})
    checkAll({fmt::format("torch.quantile(x, y, 1, True, interpolation='{0}')", mode),
              fmt::format("torch.nanquantile(x, y, -1, interpolation='{0}')", mode),
              fmt::format("torch.quantile(x, 0.3, interpolation='{0}')", mode)},
             {missing, floats({0.1, 0.5, 1})});
  checkAll({"torch.quantile(x, 0.3, None, True)", "torch.quantile(x, torch.tensor([0.25, 0.5]), 0)",
            "torch.nanquantile(x, 0.4, 0)", "torch.nanmedian(x)"},
           {x});
  checkAll({"torch.nanmedian(x)", "torch.nanmedian(x, 1)[0]", "torch.nanmedian(x, 0, True)[0]"},
           {missing});
  checkAll({"torch.nanmedian(x)", "torch.nanmedian(x, 0)"}, {ints({3, 1, 2})});
}

TEST(Statistics, Counts) {
  checkAll({"torch.mode(x)", "torch.mode(x, 0, True)", "torch.mode(x.float(), 1)"},
           {randint(0, 4, {3, 6, 5})});
  check("torch.mode(x)", {randn({})});
  checkAll({"torch.histc(x, 5, -1, 1)", "torch.histc(x)", "torch.histogram(x, 5)",
            "torch.histogram(x, 4, range=[-1.0, 1.0], density=True)",
            "torch.histogram(x, 3, weight=y)",
            "torch.histogram(x, torch.tensor([-1.0, 0.0, 0.3, 2.0]))", "torch._aminmax(x)",
            "torch._aminmax(x, 1, True)"},
           {randn({3, 4}), rand({3, 4})});
  check("torch.histc(x, 5)", {at::ones({4})});
}

TEST(Statistics, Covariance) {
  checkAll({"torch.cov(x)", "torch.cov(x, correction=0, fweights=y)", "torch.cov(x, aweights=z)",
            "torch.cov(x, aweights=z, fweights=y)", "torch.cov(x[0])", "torch.corrcoef(x)",
            "torch.dist(x, x * 2, 2)", "torch.dist(x, x * 2, 1)"},
           {randn({3, 6}), ints({1, 2, 3, 1, 1, 2}), rand({6})});
  checkDynamic("torch.cov(x)", {randn({3, 6})}, {1});
}

TEST(Special, FunctionsOfOneNumber) {
  at::Tensor x = at::cat({at::linspace(-8.3, 8.3, 51), floats({0, 1, 2, 0.5, -0.5, 1e-3, 12, 30})});
  for (const char *name :
       {"lgamma", "digamma", "i0", "special_i0e", "special_i1", "special_i1e", "special_erfcx",
        "special_ndtr", "special_log_ndtr", "special_modified_bessel_k0",
        "special_modified_bessel_k1", "special_scaled_modified_bessel_k0",
        "special_scaled_modified_bessel_k1", "special_entr", "special_spherical_bessel_j0", "angle",
        "isreal", "frexp"})
    check(fmt::format("torch.{0}(x)", name), {x}, {.rtol = 2e-4, .atol = 3e-5});
  check("torch.special_entr(x)", {floats({-1, 0, 0.25, 1, 3})});
  check("torch.lgamma(x), torch.digamma(x)", {ints({1, 2, 7})});
  checkAll({"torch.erfinv(x * 2 - 1)", "torch.special_ndtri(x)"},
           {floats({0, 1e-6, 1e-3, 0.1, 0.3, 0.5, 0.7, 0.99, 1})}, {.rtol = 1e-3});
  check("torch.mvlgamma(x, 3), torch.polygamma(0, x), torch.polygamma(2, x)", {rand({4}, 2, 5)});
}

TEST(Special, FunctionsOfTwoNumbers) {
  checkAll({"torch.special_zeta(x, y)", "torch.special_zeta(x, 2.0)", "torch.special_zeta(3.0, y)"},
           {rand({4}, 1.1, 6), rand({4}, 0.2, 5)});
  checkAll({"torch.special_xlog1py(x, y)", "torch.special_xlog1py(x, 0.5)",
            "torch.special_xlog1py(0.0, y)"},
           {floats({0, 1, 2}), floats({-1, 2, 0.5})});
  checkAll({"torch.gcd(x, y)", "torch.lcm(x, y)"},
           {ints({12, -18, 0, 7, 30}), ints({18, 12, 5, 0, -45})});
}

TEST(Shapes, Joins) {
  checkAll({"torch.block_diag([x, y, x[0]])", "torch.cartesian_prod([x[0], y[0], x[1]])",
            "torch.combinations(x[0], 2)", "torch.combinations(x[0], 3, True)",
            "torch.pad_sequence([x, y], True, 0.5)",
            "torch.pad_sequence([x, y], False, 0.0, 'left')", "torch.flatten_dense_tensors([x, y])",
            "torch.unflatten_dense_tensors(x.flatten(), [x[0], x[1]])"},
           {randn({2, 4}), randn({3, 4})});
}

TEST(Shapes, OfOneTensor) {
  checkAll({"torch.vander(x[0])", "torch.vander(x[0], 3, True)", "torch.linalg_vander(x)",
            "torch.diagflat(x, 1)", "torch.linalg_diagonal(x, offset=1)",
            "torch.as_strided_copy(x, [2, 2], [1, 4], 1)", "torch.unfold_copy(x, 1, 2, 1)",
            "torch.put(x, torch.tensor([0, 5, -1]), x[0, :3])",
            "torch.put(x, torch.tensor([0, 5, 5]), x[0, :3], True)", "torch.renorm(x, 2, 0, 0.5)",
            "torch.renorm(x, 1, -1, 0.5)", "torch.sum_to_size(x, [1, 4])",
            "torch.sum_to_size(x, [4])"},
           {randn({3, 4})});
  check("torch.vander(x)", {ints({1, 2, 3})});
}

TEST(Shapes, IntegralsAndDerivatives) {
  checkAll({"torch.trapezoid(x, y)", "torch.trapezoid(x, dx=0.5, dim=0)", "torch.trapz(x, y)",
            "torch.trapz(x, dx=0.5)", "torch.cumulative_trapezoid(x, y)",
            "torch.cumulative_trapezoid(x, dx=2)", "torch.gradient(x)",
            "torch.gradient(x, dim=[0, 1], edge_order=2)", "torch.gradient(x, spacing=2, dim=[1])",
            "torch.gradient(x, spacing=0.5, dim=-1, edge_order=2)",
            "torch.gradient(x, spacing=[y.cumsum(0)], dim=1)",
            "torch.gradient(x, spacing=[y.cumsum(0)], dim=[1], edge_order=2)"},
           {randn({3, 4}), rand({4}, 0.5, 1)}, {.atol = 1e-4});
}

TEST(Layers, Resampling) {
  for (const char *mode : {"bilinear", "bicubic"})
    checkAll({fmt::format("torch._upsample_{0}2d_aa(x, [4, 5], False)", mode),
              fmt::format("torch._upsample_{0}2d_aa(x, [4, 13], True)", mode),
              fmt::format("torch._upsample_{0}2d_aa(x, None, False, [0.5, 0.7])", mode),
              fmt::format("torch._upsample_{0}2d_aa(x, [5, 5], False, None)", mode)},
             {randn({1, 2, 9, 12})});
  for (const char *padding : {"0", "1", "2"})
    checkAll({fmt::format("torch.grid_sampler_3d(x, y, 0, {0}, True)", padding),
              fmt::format("torch.grid_sampler_3d(x, y, 0, {0}, False)", padding),
              fmt::format("torch.grid_sampler_3d(x, y, 1, {0}, False)", padding)},
             {randn({2, 3, 4, 5, 6}), randn({2, 2, 3, 2, 3})}, {.atol = 1e-4});
  for (const char *padding : {"0", "1", "2"})
    checkAll({fmt::format("torch.grid_sampler(x, y, 2, {0}, True)", padding),
              fmt::format("torch.grid_sampler_2d(x, y, 2, {0}, False)", padding),
              fmt::format("torch._grid_sampler_2d_cpu_fallback(x, y, 2, {0}, False)", padding),
              fmt::format("torch._grid_sampler_2d_cpu_fallback(x, y, 0, {0}, False)", padding)},
             {randn({2, 3, 5, 6}), randn({2, 3, 4, 2})}, {.atol = 1e-4});
  check("torch.grid_sampler(x, y, 0, 1, False)", {randn({2, 3, 4, 5, 6}), randn({2, 2, 3, 2, 3})},
        {.atol = 1e-4});
  checkAll({"torch.affine_grid_generator(x, [2, 3, 4, 5, 6], False)",
            "torch.affine_grid_generator(x, [2, 3, 1, 5, 2], True)"},
           {randn({2, 3, 4})});
  check("torch.max_unpool3d(x, y, [4, 4, 4], [2, 2, 2], [0, 0, 0])",
        {randn({1, 2, 2, 2, 2}), at::arange(16).reshape({1, 2, 2, 2, 2}) * 4 % 64});
}

TEST(Layers, BagsOfEmbeddings) {
  for (const char *mode : {"0", "1", "2"})
    checkAll(
        {fmt::format("torch.embedding_bag(x, y, z, False, {0}, False, None, False)[0]", mode),
         fmt::format("torch.embedding_bag(x, y, z, False, {0}, False, None, True)[0]", mode),
         fmt::format("torch.embedding_bag(x, y, z, False, {0}, False, None, False, 2)[0]", mode),
         fmt::format("torch._embedding_bag(x, y, z, False, {0}, False, None, False, 4)[0]", mode)},
        {randn({10, 4}), ints({1, 2, 4, 5, 4, 3, 2, 9}), ints({0, 3, 3, 8})});
  check("torch.embedding_bag(x, y, z, False, 0, False, w, False)[0]",
        {randn({10, 4}), ints({1, 2, 4, 5}), ints({0, 3}), rand({4})});
}

TEST(Layers, PretendedQuantisation) {
  checkAll({"torch.fake_quantize_per_tensor_affine(x, 0.1, 3, -10, 20)",
            "torch.fake_quantize_per_tensor_affine(x, y[0], z[0], -10, 20)",
            "torch.fake_quantize_per_channel_affine(x, y, z, 1, -10, 20)"},
           {randn({3, 4}) * 3, rand({4}, 0.1, 1), at::zeros({4}, at::kInt)});
}

TEST(Layers, OtherForms) {
  check("torch.conv_tbc(x, y, z, 1)", {randn({7, 2, 3}), randn({3, 3, 5}), randn({5})});
  checkAll({"torch.thnn_conv2d(x, y, [3, 3], None, [1, 1], [1, 1])",
            "torch.slow_conv_dilated2d(x, y, [3, 3], None, [1, 1], [0, 0], [1, 1])",
            "torch.slow_conv_transpose2d(x, y.transpose(0, 1), [3, 3])"},
           {randn({1, 2, 7, 7}), randn({3, 2, 3, 3})});
  checkAll({"torch.slow_conv3d(x, y, [3, 3, 3])", "torch.slow_conv_dilated3d(x, y, [3, 3, 3])",
            "torch.slow_conv_transpose3d(x, y.transpose(0, 1), [3, 3, 3])"},
           {randn({1, 2, 5, 5, 5}), randn({3, 2, 3, 3, 3})});
  checkAll({"torch._trilinear(x, y, z, [1, 3], [0], [1, 2], [2, 3])"},
           {randn({4, 3}), randn({2, 3, 5}), randn({4, 5})});
  checkAll({"torch._add_relu(x, y, alpha=2)", "torch._add_relu(x, 0.5)",
            "torch._addmm_activation(z, x, y.t())",
            "torch._addmm_activation(z, x, y.t(), use_gelu=True)",
            "torch._safe_softmax(x.masked_fill(y > 0, -float('inf')), 1)",
            "torch.norm_except_dim(x, 2, 1)", "torch.norm_except_dim(x, 2, -1)",
            "torch.pdist(x, 1.0)", "torch._cdist_forward(x, y, 2.0, None)",
            "torch._euclidean_dist(x, y)", "torch.allclose(x, x)", "torch.allclose(x, y)"},
           {randn({3, 4}), randn({3, 4}), randn({3})}, {.atol = 1e-3});
  for (const char *reduce : {"prod", "mean", "amax", "amin"})
    checkAll({fmt::format("torch.index_reduce(x, 0, torch.tensor([0, 2, 2]), y, '{0}')", reduce),
              fmt::format("torch.index_reduce(x, 0, z, y, '{0}', include_self=False)", reduce)},
             {randn({4, 3}), randn({3, 3}), ints({0, 2, 2})});
}

TEST(Polynomials, OfAKnownDegree) {
  for (const char *name :
       {"chebyshev_polynomial_t", "chebyshev_polynomial_u", "chebyshev_polynomial_v",
        "chebyshev_polynomial_w", "shifted_chebyshev_polynomial_t",
        "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
        "shifted_chebyshev_polynomial_w", "hermite_polynomial_h", "hermite_polynomial_he",
        "laguerre_polynomial_l", "legendre_polynomial_p"})
    for (const char *degree : {"-1", "0", "1", "5"})
      check(fmt::format("torch.special_{0}(x, {1})", name, degree), {floats({-1, -0.5, 0, 0.3, 1})},
            {.atol = 1e-3});
}

TEST(LinearAlgebra, OfSmallMatrices) {
  for (int64_t n : {1, 2, 3, 4}) {
    at::Tensor a = randn({2, n, n}) + 2 * at::eye(n);
    CheckOptions loose{.rtol = 2e-3, .atol = 1e-3};
    checkAll({"torch.linalg_det(x)", "torch.linalg_slogdet(x)", "torch.linalg_inv(x)",
              "torch.linalg_inv_ex(x)", "torch.linalg_solve(x, y)",
              "torch.linalg_solve(x, y[:, :, 0])",
              "torch.linalg_solve(x, y.transpose(-2, -1), left=False)",
              "torch.linalg_solve_ex(x, y)", "torch.linalg_matrix_power(x, 3)",
              "torch.linalg_matrix_power(x, -2)", "torch.linalg_matrix_power(x, 0)",
              "torch.linalg_matrix_exp(x)", "torch.linalg_qr(y)", "torch.linalg_qr(y, 'complete')",
              "torch.qr(y)", "torch.logdet(torch.matmul(x, x.transpose(-2, -1)))"},
             {a, randn({2, n, 3})}, loose);
    at::Tensor positive = a.matmul(a.mT()) + 0.5 * at::eye(n);
    checkAll({"torch.linalg_cholesky(x)", "torch.linalg_cholesky(x, upper=True)",
              "torch.linalg_cholesky_ex(x)",
              "torch.linalg_solve_triangular(torch.tril(x), y, upper=False)",
              "torch.linalg_solve_triangular(torch.triu(x), y.transpose(-2, -1), upper=True, "
              "left=False)",
              "torch.triangular_solve(y, torch.triu(x))",
              "torch.triangular_solve(y, torch.tril(x), False, True, True)",
              "torch.cholesky_solve(y, torch.tril(x))", "torch.cholesky_inverse(torch.tril(x))"},
             {positive, randn({2, n, 3})}, loose);
  }
  check("torch.linalg_det(x)", {at::zeros({4, 4})});
  EXPECT_THAT(refusal("torch.linalg_inv(x)", {randn({40, 40})}), HasSubstr("too many operations"));
  EXPECT_THAT(refusal("torch.linalg_det(x)", {randn({3, 2})}), HasSubstr("not square"));
  EXPECT_THAT(refusal("torch.combinations(x, 3)", {randn({2})}), HasSubstr("no combination"));
}

} // namespace
} // namespace plait::frontend
