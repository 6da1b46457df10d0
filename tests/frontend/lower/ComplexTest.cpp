// Complex tensors and Fourier transforms: every operator that takes them against LibTorch, the real
// and the imaginary part of each result; what aliases; what refuses.
#include "support/Format.h"
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>

namespace plait::frontend {
namespace {
using testing::HasSubstr;

/// Expressions of the complex tensors a, b (of x and y) and the real tensor r (of z).
void checkComplex(const std::vector<std::string> &sources, at::IntArrayRef shape,
                  CheckOptions options = {}) {
  std::vector<int64_t> pairs = shape.vec();
  pairs.push_back(2);
  std::vector<at::Tensor> inputs{randn(pairs), randn(pairs), randn(shape)};
  for (const std::string &source : sources)
    check(forward("  a = torch.view_as_complex(x)\n  b = torch.view_as_complex(y)\n  r = z\n"
                  "  return " +
                      source,
                  "x: Tensor, y: Tensor, z: Tensor"),
          inputs, options);
}

TEST(Complex, Arithmetic) {
  for (const std::vector<int64_t> &shape :
       std::vector<std::vector<int64_t>>{{}, {3}, {2, 3}, {2, 1, 2, 3}})
    checkComplex({"a + b",
                  "a - b",
                  "a * b",
                  "a / b",
                  "a + r",
                  "r + a",
                  "r - a",
                  "a - r",
                  "a * r",
                  "r / a",
                  "a / r",
                  "a * 2",
                  "a + 1",
                  "1 - a",
                  "torch.sub(a, b, alpha=2)",
                  "torch.add(a, r, alpha=0.5)",
                  "-a",
                  "a * 2j",
                  "r * 1j",
                  "torch.reciprocal(a)",
                  "torch.square(a)",
                  "torch.rsub(a, b)"},
                 shape);
  checkComplex({"torch.addcmul(a, b, a, value=2)", "torch.lerp(a, b, 0.25)"}, {2, 3});
}

TEST(Complex, MagnitudeAndPhase) {
  checkComplex({"torch.abs(a)", "torch.angle(a)", "torch.sgn(a)", "torch.conj(a) * b",
                "torch.conj_physical(a)", "torch.real(a)", "torch.imag(a)", "a == b", "a != a",
                "torch.isnan(a)", "torch.isinf(a)", "torch.isfinite(a)", "torch.isreal(a)",
                "torch.polar(r.abs(), r)", "torch.complex(r, r * 2)", "torch.view_as_real(a)",
                "torch.angle(r)", "torch.isreal(r)", "torch.real(r)"},
               {2, 3});
}

TEST(Complex, ElementaryFunctions) {
  checkComplex({"torch.exp(a)", "torch.log(a)", "torch.sqrt(a)", "torch.rsqrt(a)", "torch.sin(a)",
                "torch.cos(a)", "torch.sinh(a)", "torch.cosh(a)", "torch.tanh(a)",
                "torch.sigmoid(a)", "a ** 2", "a ** b", "a ** r", "r.abs() ** a", "a ** 0.5",
                "2.0 ** a"},
               {2, 3}, {.rtol = 1e-3, .atol = 1e-4});
}

TEST(Complex, ViewsAndShapes) {
  checkComplex({"a[1:]",
                "a[0]",
                "a.t()",
                "a.reshape(9)",
                "a.unsqueeze(0).expand(2, 3, 3)",
                "a[:, ::2] + b[:, 1:2]",
                "a.permute(1, 0)",
                "a.flatten()",
                "a.clone() * b",
                "torch.cat([a, b], 1)",
                "torch.cat([a, r], 0)",
                "torch.stack([a, b])",
                "torch.flip(a, [0])",
                "torch.roll(a, 1, 1)",
                "a.repeat(2, 1)",
                "torch.tril(a)",
                "torch.triu(a)",
                "torch.mH(a)",
                "torch.adjoint(a)",
                "torch.gather(a, 1, torch.tensor([[0, 1], [2, 0]]))",
                "a[torch.tensor([1, 0])]",
                "torch.index_select(a, 1, torch.tensor([2, 0]))",
                "torch.constant_pad_nd(a, [1, 2], 3)",
                "torch.where(r > 0, a, b)",
                "torch.where(r > 0, a, r)",
                "a.masked_fill(r > 0, 2)",
                "torch.zeros_like(a) + b",
                "torch.ones_like(a) + b",
                "a.to(r)",
                "r.to(a) + a",
                "torch.diagonal(a)",
                "a.size(0)",
                "a.is_complex()",
                "a.unbind(0)",
                "a.chunk(3, 1)",
                "a.squeeze()"},
               {3, 3});
}

TEST(Complex, ReductionsAndProducts) {
  checkComplex({"a.sum()", "a.sum(0)", "a.mean([1], True)", "a.cumsum(1)", "torch.matmul(a, b)",
                "torch.bmm(a.unsqueeze(0), b.unsqueeze(0))", "torch.dot(a[0], b[1])",
                "torch.vdot(a[0], b[1])", "torch.linalg_vecdot(a, b)", "torch.outer(a[0], b[1])",
                "torch.linear(a, b, a[0])", "torch.linear(a, b)",
                "torch.einsum('ij,jk->ik', [a, b])", "torch.einsum('ij->ji', [a])",

                "torch.linalg_vector_norm(a, 2, [1])"},
               {3, 3});
}

TEST(Complex, KnownConstantsAndNumbers) {
  checkComplex({"a * torch.polar(torch.ones([3]), torch.arange(3) * 0.5)",
                "r * torch.complex(torch.arange(3) * 0.5, torch.ones([3]))",
                "torch.index_select(torch.complex(torch.arange(3) * 0.5, torch.ones([3])), 0, "
                "(r.flatten() > 0).long())"},
               {2, 3});
}

TEST(Complex, RotaryEmbedding) {
  check(forward("  f = torch.polar(torch.ones([4, 3]), torch.outer(torch.arange(4) * 1.0, "
                "torch.arange(3) * 0.1))\n"
                "  z = torch.view_as_complex(x.float().reshape(2, 4, 2, 3, 2))\n"
                "  return torch.view_as_real(z * f.view(1, 4, 1, 3)).flatten(3).type_as(x)"),
        {randn({2, 4, 2, 6})});
}

TEST(Complex, WritesAreSeenByEveryAlias) {
  for (const char *body :
       {"  z = torch.view_as_complex(x)\n  z.mul_(2)\n  return x, z",
        "  z = torch.view_as_complex(x)\n  x.mul_(2)\n  return x, z",
        "  z = torch.view_as_complex(x)\n  torch.real(z).add_(1)\n  return x, z",
        "  z = torch.view_as_complex(x) * 1j\n  z[0] = 3\n  z[1].add_(1j)\n  return z",
        "  z = torch.zeros([3, 4], dtype=torch.view_as_complex(x).dtype)\n"
        "  z[:, :2] = torch.view_as_complex(x)\n  y = z[1]\n  z[1, 3] = 2j\n  return z, y",
        "  z = torch.view_as_complex(x)\n  if bool(x.sum() > 0):\n    z = z * 2\n  else:\n"
        "    z = z + 1j\n  return z",
        "  z = torch.zeros([3, 2], dtype=torch.view_as_complex(x).dtype)\n"
        "  if bool(x.sum() > 0):\n    z[0] = torch.view_as_complex(x)[0]\n  return z",
        "  z = torch.view_as_complex(x)\n  n = int(x.sum().abs()) + 2\n  for i in range(n):\n"
        "    z = z * 1j\n  return z"})
    check(forward(body), {randn({3, 2, 2})});
}

TEST(Complex, IsRefusedByName) {
  EXPECT_THAT(refusal("torch.relu(torch.view_as_complex(x))", {randn({3, 2})}),
              HasSubstr("aten::relu: it is not supported for complex tensors"));
  EXPECT_THAT(refusal("torch.erf(torch.view_as_complex(x))", {randn({3, 2})}),
              HasSubstr("complex"));
  EXPECT_THAT(refusal("torch.fft_fft(x)", {randn({2, 4099})}), HasSubstr("small factors"));
  EXPECT_THAT(refusal(forward("  z = torch.view_as_complex(x)\n  y = torch.view_as_real(z)\n"
                              "  z.mul_(2)\n  return y"),
                      {randn({3, 2})}),
              HasSubstr("may or may not share memory"));
}

// ---- Fourier transforms ------------------------------------------------------------------------

TEST(Fourier, OneAxis) {
  for (int64_t n : {1, 2, 7, 8})
    for (const char *norm : {"None", "'ortho'", "'forward'"})
      for (const char *name : {"fft_fft", "fft_ifft", "fft_rfft", "fft_ihfft"})
        check(fmt::format("torch.{0}(x, None, -1, {1})", name, norm), {randn({2, n})});
  for (const char *name : {"fft_fft", "fft_ifft", "fft_irfft", "fft_hfft"})
    checkComplex({fmt::format("torch.{0}(a)", name), fmt::format("torch.{0}(a, 7, 0)", name),
                  fmt::format("torch.{0}(a, 4, 1, 'ortho')", name)},
                 {5, 6});
  check("torch.fft_irfft(x, 8, -1, None), torch.fft_hfft(x, 5, 0, None)", {randn({3, 5})});
}

TEST(Fourier, LongAxesAreSplit) {
  check("torch.fft_rfft(x, None, -1, None)", {randn({2, 2048})}, {.atol = 1e-3});
  checkComplex({"torch.fft_ifft(a)", "torch.fft_irfft(a)"}, {1, 1500}, {.atol = 1e-4});
}

TEST(Fourier, SeveralAxes) {
  for (const char *name : {"fft_fftn", "fft_ifftn", "fft_rfftn", "fft_ihfftn", "fft_fft2",
                           "fft_ifft2", "fft_rfft2", "fft_ihfft2"})
    check(fmt::format("torch.{0}(x)", name), {randn({2, 4, 3})});
  for (const char *name : {"fft_fftn", "fft_ifftn", "fft_irfftn", "fft_hfftn", "fft_fft2",
                           "fft_ifft2", "fft_irfft2", "fft_hfft2"})
    checkComplex({fmt::format("torch.{0}(a)", name)}, {2, 4, 3});
  checkComplex({"torch.fft_fftn(a, [3, 2], [0, 2])", "torch.fft_irfftn(a, [3, 5], [0, 1], 'ortho')",
                "torch.fft_fftshift(a)", "torch.fft_ifftshift(a, [1])", "torch.fft_fftshift(r)",
                "torch.fft_ifftshift(r)", "torch._fft_c2c(a, [0, 1], 1, True)",
                "torch._fft_c2r(a, [0, 2], 2, 4)", "torch._fft_r2c(r, [0, 2], 0, True)"},
               {2, 4, 3});
}

TEST(Fourier, RangedSizes) {
  checkDynamic("torch.fft_fft(x, 8, -1, None)", {randn({2, 8})}, {0});
  checkDynamic("torch.fft_rfft(x, None, 1, None)", {randn({2, 8, 3})}, {0, 2});
}

TEST(Fourier, FramesOfASignal) {
  check("torch.stft(x, 16, 4, 16, torch.hann_window(16), True, 'reflect', False, True, True)",
        {randn({2, 64})});
  check("torch.stft(x, 16, 5, 10, torch.hann_window(10), True, 'constant', True, False, True)",
        {randn({61})});
  check("torch.stft(x, 16, None, None, None, False, True, True)", {randn({2, 64})});
  check("torch.stft(x, 16, None, None, None, False, True, False)", {randn({2, 64})});
  checkDynamic(
      "torch.stft(x, 16, 4, 16, torch.hann_window(16), True, 'reflect', False, True, True)",
      {randn({2, 64})}, {1});
  checkComplex({"torch.istft(a, 16, 4, 16, torch.hann_window(16))",
                "torch.istft(a, 16, 4, 12, torch.hann_window(12), True, True, None, 30)",
                "torch.istft(a[0], 16, 4, None, torch.hamming_window(16), False)"},
               {2, 9, 12});
  check("torch.istft(torch.view_as_complex(x), 16, 4, None, torch.ones([16]))",
        {randn({9, 10, 2})});
}

} // namespace
} // namespace plait::frontend
