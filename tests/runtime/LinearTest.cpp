// Linear algebra, convolutions, pools and norms against plain loops or other LibTorch kernels.
#include "OpCheck.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

namespace plait::runtime {

using namespace mil;

TEST(Linear, ProductsAndBias) {
  for (std::vector<int64_t> shape : {std::vector<int64_t>{5}, {2, 5}, {2, 3, 5}}) {
    at::Tensor x = randn(shape, 1), w = randn({4, 5}, 2), b = randn({4}, 3);
    at::Tensor expected = (x.unsqueeze(-2) * w).sum(-1);
    check(OpKind::linear, {{0, x}, {linear::weight, w}}, expected);
    check(OpKind::linear, {{0, x}, {linear::weight, w}, {linear::bias, b}}, expected + b);
  }
  at::Tensor x = randint(-9, 9, {2, 3}), w = randint(-9, 9, {4, 3}, 1), b = ints({1, 2, 3, 4});
  check(OpKind::linear, {{0, x}, {linear::weight, w}, {linear::bias, b}},
        (x.unsqueeze(1) * w).sum(-1) + b);
}

TEST(Linear, LargeHalfWeightsAreWidenedInTiles) {
  // 3000 x 4000 elements are more than a tile.
  at::Tensor x = randn({2, 4000}, 1).to(at::kHalf), w = randn({3000, 4000}, 2).to(at::kHalf);
  at::Tensor b = randn({3000}, 3).to(at::kHalf);
  at::Tensor actual = runOp(OpKind::linear, {{0, x}, {linear::weight, w}, {linear::bias, b}}).at(0);
  at::Tensor expected = at::linear(x.to(at::kFloat), w.to(at::kFloat), b.to(at::kFloat));
  expectClose(actual, expected, 1e-3, "linear in tiles");
}

TEST(Linear, MatmulTransposes) {
  at::Tensor x = randn({2, 1, 3, 4}, 1), y = randn({5, 4, 6}, 2);
  at::Tensor expected = (x.unsqueeze(-1) * y.unsqueeze(-3)).sum(-2);
  for (bool tx : {false, true})
    for (bool ty : {false, true})
      check(OpKind::matmul,
            {{0, tx ? x.transpose(-1, -2).contiguous() : x},
             {1, ty ? y.transpose(-1, -2).contiguous() : y},
             lit(matmul::transpose_x, tx),
             lit(matmul::transpose_y, ty)},
            expected);
  at::Tensor a = randint(-9, 9, {3, 4}), b = randint(-9, 9, {4, 2}, 1);
  check(OpKind::matmul, {{0, a}, {1, b}}, (a.unsqueeze(-1) * b).sum(1));
}

TEST(Linear, MatmulBroadcastsEitherOperand) {
  auto shaped = [](int64_t a, int64_t b, int64_t c, int64_t rows, int64_t columns) {
    return std::vector<int64_t>{a, b, c, rows, columns};
  };
  // Each axis is shared, of x, of y, or of neither.
  for (auto [a, b] : {std::pair(shaped(2, 3, 1, 4, 5), shaped(2, 1, 6, 5, 7)),
                      {shaped(1, 3, 2, 4, 5), shaped(6, 1, 1, 5, 7)},
                      {shaped(3, 1, 1, 1, 5), shaped(1, 1, 2, 5, 1)},
                      {shaped(3, 1, 0, 4, 5), shaped(1, 2, 1, 5, 7)},
                      {shaped(1, 2, 1, 4, 0), shaped(3, 1, 1, 0, 7)}}) {
    at::Tensor x = randn(a, 1), y = randn(b, 2);
    check(OpKind::matmul, {{0, x}, {1, y}}, (x.unsqueeze(-1) * y.unsqueeze(-3)).sum(-2));
  }
  at::Tensor x = randint(-9, 9, {3, 1, 2, 4}), y = randint(-9, 9, {2, 4, 3}, 1);
  check(OpKind::matmul, {{0, x}, {1, y}}, (x.unsqueeze(-1) * y.unsqueeze(-3)).sum(-2));
}

TEST(Linear, MatmulCopiesNoOperandForEachOfTheOther) {
  /// The largest piece of memory that this thread is given.
  struct Largest : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void *, int64_t size, size_t, size_t, c10::Device) override {
      bytes = std::max(bytes, size);
    }
    bool memoryProfilingEnabled() const override { return true; }
    int64_t bytes = 0;
  };
  // What bins of 64 regions take of a map: the map is 128 KB, and 8 MB for each region its own.
  at::Tensor rows = randn({64, 1, 2, 32}, 1), map = randn({1, 32, 32, 32}, 2);
  at::Tensor result;
  auto largest = std::make_shared<Largest>();
  {
    c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, largest);
    result = runOp(OpKind::matmul, {{0, rows}, {1, map}}).at(0);
  }
  expectClose(result, at::matmul(rows, map), 1e-5, "broadcast matmul");
  EXPECT_GE(largest->bytes, int64_t(result.nbytes()));
  EXPECT_LE(largest->bytes, int64_t(2 * result.nbytes()));
}

TEST(Linear, Einsum) {
  at::Tensor x = randn({2, 3, 4, 5}, 1), y = randn({2, 5, 4, 6}, 2);
  at::Tensor expected = at::zeros({2, 3, 4, 6});
  for (int64_t h = 0; h < 4; ++h)
    expected.select(2, h).copy_(at::matmul(x.select(2, h), y.select(2, h)));
  check(OpKind::einsum, {{einsum::values, {x, y}}, lit(einsum::equation, "nchw,nwhu->nchu")},
        expected);
}

TEST(Attention, SoftmaxOfScaledProducts) {
  namespace sdpa = scaled_dot_product_attention;
  at::Tensor q = randn({2, 3, 4, 8}, 1), k = randn({2, 3, 5, 8}, 2), v = randn({2, 3, 5, 6}, 3);
  auto reference = [&](const at::Tensor &mask) {
    at::Tensor scores = at::einsum("bhle,bhse->bhls", {q, k}) / std::sqrt(8.0) + mask;
    at::Tensor e = at::exp(scores);
    return at::einsum("bhls,bhsf->bhlf", {e / e.sum(-1, true), v});
  };
  Binds binds{{sdpa::query, q}, {sdpa::key, k}, {sdpa::value, v}};
  check(OpKind::scaled_dot_product_attention, binds, reference(at::zeros({})));
  at::Tensor mask = randn({4, 5}, 4);
  binds.emplace_back(sdpa::attn_mask, mask);
  check(OpKind::scaled_dot_product_attention, binds, reference(mask));
  at::Tensor keep = randint(0, 2, {4, 5}, 5).to(at::kBool);
  keep.select(1, 0).fill_(true);
  binds.back() = Bind(sdpa::attn_mask, keep);
  check(OpKind::scaled_dot_product_attention, binds,
        reference(at::zeros({4, 5}).masked_fill(at::logical_not(keep), -INFINITY)));
}

/// Convolution of one axis after another is not general: this sums over every tap.
static at::Tensor convReference(const at::Tensor &x, const at::Tensor &w, at::IntArrayRef strides,
                                at::IntArrayRef dilations, int64_t groups) {
  int64_t h = (x.size(2) - (w.size(2) - 1) * dilations[0] - 1) / strides[0] + 1;
  int64_t wd = (x.size(3) - (w.size(3) - 1) * dilations[1] - 1) / strides[1] + 1;
  int64_t in = w.size(1), out = w.size(0) / groups;
  at::Tensor y = at::zeros({x.size(0), w.size(0), h, wd});
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t i = 0; i < w.size(2); ++i)
      for (int64_t j = 0; j < w.size(3); ++j) {
        at::Tensor part =
            x.slice(1, g * in, (g + 1) * in)
                .slice(2, i * dilations[0], i * dilations[0] + (h - 1) * strides[0] + 1, strides[0])
                .slice(3, j * dilations[1], j * dilations[1] + (wd - 1) * strides[1] + 1,
                       strides[1]);
        at::Tensor taps = w.slice(0, g * out, (g + 1) * out).select(2, i).select(2, j);
        y.slice(1, g * out, (g + 1) * out) += at::einsum("nchw,oc->nohw", {part, taps});
      }
  return y;
}

TEST(Conv, StridesDilationsGroupsAndPads) {
  at::Tensor x = half(randn({2, 4, 7, 9}, 1) * 0.5), w = half(randn({6, 2, 3, 2}, 2) * 0.5);
  at::Tensor b = randn({6}, 3);
  at::Tensor bias = b.reshape({1, 6, 1, 1});
  Binds base{{conv::x, x}, Bind(conv::weight, w).constant(), lit(conv::groups, 2)};
  check(OpKind::conv, base, convReference(x, w, {1, 1}, {1, 1}, 2), 1e-4);
  Binds strided = base;
  strided.emplace_back(conv::bias, b);
  strided.push_back(lit(conv::strides, {2, 3}));
  strided.push_back(lit(conv::dilations, {2, 1}));
  check(OpKind::conv, strided, convReference(x, w, {2, 3}, {2, 1}, 2) + bias, 1e-4);
  Binds custom = base;
  custom.push_back(lit(conv::pad_type, "custom"));
  custom.push_back(lit(conv::pad, {1, 2, 0, 3}));
  check(OpKind::conv, custom,
        convReference(at::constant_pad_nd(x, {0, 3, 1, 2}, 0), w, {1, 1}, {1, 1}, 2), 1e-4);
}

TEST(Conv, SamePaddingKeepsTheOddElementAfterOrBefore) {
  at::Tensor x = randn({1, 1, 5, 6}, 1), w = randn({1, 1, 2, 4}, 2);
  // Height: kernel 2 at stride 1 needs 1; width: kernel 4 at stride 2 needs 2 for 3 windows.
  Binds same{
      {conv::x, x}, {conv::weight, w}, lit(conv::strides, {1, 2}), lit(conv::pad_type, "same")};
  check(OpKind::conv, same,
        convReference(at::constant_pad_nd(x, {1, 1, 0, 1}, 0), w, {1, 2}, {1, 1}, 1), 1e-4);
  same.back() = lit(conv::pad_type, "same_lower");
  check(OpKind::conv, same,
        convReference(at::constant_pad_nd(x, {1, 1, 1, 0}, 0), w, {1, 2}, {1, 1}, 1), 1e-4);
}

TEST(Conv, OneAndThreeAxes) {
  at::Tensor x = randn({2, 3, 8}, 1), w = randn({4, 3, 3}, 2);
  check(OpKind::conv, {{conv::x, x}, {conv::weight, w}, lit(conv::strides, {2})},
        convReference(x.unsqueeze(2), w.unsqueeze(2), {1, 2}, {1, 1}, 1).squeeze(2), 1e-4);
  at::Tensor x3 = randn({1, 2, 3, 4, 5}, 3), w3 = randn({2, 2, 2, 1, 1}, 4);
  at::Tensor expected =
      at::einsum("ncdhw,oc->nodhw", {x3.slice(2, 0, 2), w3.select(2, 0).squeeze(-1).squeeze(-1)}) +
      at::einsum("ncdhw,oc->nodhw", {x3.slice(2, 1, 3), w3.select(2, 1).squeeze(-1).squeeze(-1)});
  check(OpKind::conv, {{conv::x, x3}, {conv::weight, w3}}, expected, 1e-4);
}

TEST(Conv, QuantizedWeights) {
  namespace q = conv_quantized;
  at::Tensor x = randn({1, 2, 4, 4}, 1);
  at::Tensor w = randint(0, 256, {3, 2, 2, 2}, 2).to(at::kByte);
  at::Tensor scale = floats({0.0078125, 0.015625, 0.03125}), offset = floats({-1, 0.5, -2});
  at::Tensor real = w.to(at::kFloat) * scale.reshape({3, 1, 1, 1}) + offset.reshape({3, 1, 1, 1});
  check(OpKind::conv_quantized,
        {{q::x, x},
         {q::weight, w},
         lit(q::quantization_type, "linear"),
         {q::quant_scale, scale},
         {q::quant_bias, offset}},
        convReference(x, real, {1, 1}, {1, 1}, 1), 1e-4);
}

/// Every input element adds its weights to the output.
static at::Tensor transposeReference(const at::Tensor &x, const at::Tensor &w,
                                     at::IntArrayRef strides, int64_t groups) {
  int64_t in = x.size(1) / groups, out = w.size(1);
  at::Tensor y = at::zeros({x.size(0), out * groups, (x.size(2) - 1) * strides[0] + w.size(2),
                            (x.size(3) - 1) * strides[1] + w.size(3)});
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t i = 0; i < x.size(2); ++i)
      for (int64_t j = 0; j < x.size(3); ++j)
        y.slice(1, g * out, (g + 1) * out)
            .slice(2, i * strides[0], i * strides[0] + w.size(2))
            .slice(3, j * strides[1], j * strides[1] + w.size(3)) +=
            at::einsum("nc,cohw->nohw", {x.slice(1, g * in, (g + 1) * in).select(2, i).select(2, j),
                                         w.slice(0, g * in, (g + 1) * in)});
  return y;
}

TEST(ConvTranspose, PadsCropAndOutputShapeExtends) {
  namespace ct = conv_transpose;
  at::Tensor x = randn({2, 4, 3, 4}, 1), w = half(randn({4, 3, 3, 2}, 2) * 0.5), b = randn({6}, 3);
  at::Tensor full = transposeReference(x, w, {2, 3}, 2), bias = b.reshape({1, 6, 1, 1});
  Binds base{{ct::x, x}, {ct::weight, w}, lit(ct::strides, {2, 3}), lit(ct::groups, 2)};
  check(OpKind::conv_transpose, base, full, 1e-4);
  Binds custom = base;
  custom.emplace_back(ct::bias, b);
  custom.push_back(lit(ct::pad_type, "custom"));
  custom.push_back(lit(ct::pad, {1, 0, 2, 1}));
  check(OpKind::conv_transpose, custom, full.slice(2, 1).slice(3, 2, full.size(3) - 1) + bias,
        1e-4);
  // output_shape one longer than the padding leaves: PyTorch's output_padding.
  Binds longer = base;
  longer.push_back(lit(ct::pad_type, "custom"));
  longer.push_back(lit(ct::pad, {1, 1, 0, 0}));
  longer.push_back(lit(ct::output_shape, {2, 6, 6, 11}));
  check(OpKind::conv_transpose, longer, full.slice(2, 1), 1e-4);
  Binds beyond = base;
  beyond.push_back(lit(ct::output_shape, {2, 6, 8, 11}));
  check(OpKind::conv_transpose, beyond, at::constant_pad_nd(full, {0, 0, 0, 1}, 0), 1e-4);
  Binds same = base;
  same.push_back(lit(ct::pad_type, "same"));
  check(OpKind::conv_transpose, same, at::constant_pad_nd(full.slice(2, 0, 6), {0, 1}, 0), 1e-4);
}

/// All windows of a padded tensor: [n, c, windows…, kernel…].
static at::Tensor windows(at::Tensor x, at::IntArrayRef kernel, at::IntArrayRef strides) {
  for (size_t i = 0; i < kernel.size(); ++i)
    x = x.unfold(int64_t(i) + 2, kernel[i], strides[i]);
  return x;
}

TEST(Pool, TwoAxes) {
  at::Tensor x = randn({2, 3, 7, 8}, 1);
  at::Tensor w = windows(x, {3, 2}, {2, 2});
  check(OpKind::max_pool,
        {{max_pool::x, x},
         lit(max_pool::kernel_sizes, {3, 2}),
         lit(max_pool::strides, {2, 2}),
         lit(max_pool::pad_type, "valid")},
        w.amax({-1, -2}));
  check(OpKind::avg_pool,
        {{avg_pool::x, x},
         lit(avg_pool::kernel_sizes, {3, 2}),
         lit(avg_pool::strides, {2, 2}),
         lit(avg_pool::pad_type, "valid")},
        w.mean({-1, -2}));
  check(OpKind::l2_pool,
        {{l2_pool::x, x},
         lit(l2_pool::kernel_sizes, {3, 2}),
         lit(l2_pool::strides, {2, 2}),
         lit(l2_pool::pad_type, "valid")},
        at::sqrt((w * w).sum({-1, -2})));
}

TEST(Pool, PaddingCountsOrNot) {
  at::Tensor x = randn({1, 2, 5, 6}, 1);
  at::Tensor padded = at::constant_pad_nd(x, {0, 2, 1, 0}, 0);
  at::Tensor inside = at::constant_pad_nd(at::ones_like(x), {0, 2, 1, 0}, 0);
  at::Tensor sums = windows(padded, {2, 3}, {1, 1}).sum({-1, -2});
  Binds binds{{avg_pool::x, x},
              lit(avg_pool::kernel_sizes, {2, 3}),
              lit(avg_pool::pad_type, "custom"),
              lit(avg_pool::pad, {1, 0, 0, 2})};
  check(OpKind::avg_pool, binds, sums / 6);
  binds.push_back(lit(avg_pool::exclude_padding_from_average, true));
  check(OpKind::avg_pool, binds, sums / windows(inside, {2, 3}, {1, 1}).sum({-1, -2}));
  at::Tensor low = at::constant_pad_nd(x, {0, 2, 1, 0}, -INFINITY);
  check(OpKind::max_pool,
        {{max_pool::x, x},
         lit(max_pool::kernel_sizes, {2, 3}),
         lit(max_pool::pad_type, "custom"),
         lit(max_pool::pad, {1, 0, 0, 2})},
        windows(low, {2, 3}, {1, 1}).amax({-1, -2}));
}

TEST(Pool, CeilModeAgreesWithPyTorch) {
  for (int64_t size : {5, 6, 7, 8})
    for (int64_t pad : {0, 1}) {
      at::Tensor x = randn({1, 2, size, size}, uint64_t(size));
      Binds maximum{{max_pool::x, x},
                    lit(max_pool::kernel_sizes, {3, 3}),
                    lit(max_pool::strides, {2, 2}),
                    lit(max_pool::pad_type, "custom"),
                    lit(max_pool::pad, {pad, pad, pad, pad}),
                    lit(max_pool::ceil_mode, true)};
      check(OpKind::max_pool, maximum, at::max_pool2d(x, {3, 3}, {2, 2}, {pad, pad}, {1, 1}, true));
      for (bool exclude : {false, true})
        check(OpKind::avg_pool,
              {{avg_pool::x, x},
               lit(avg_pool::kernel_sizes, {3, 3}),
               lit(avg_pool::strides, {2, 2}),
               lit(avg_pool::pad_type, "custom"),
               lit(avg_pool::pad, {pad, pad, pad, pad}),
               lit(avg_pool::ceil_mode, true),
               lit(avg_pool::exclude_padding_from_average, exclude)},
              at::avg_pool2d(x, {3, 3}, {2, 2}, {pad, pad}, true, !exclude));
    }
}

TEST(Pool, SameAndOtherRanks) {
  at::Tensor x = randn({1, 2, 5}, 1);
  at::Tensor low = at::constant_pad_nd(x, {0, 1}, -INFINITY),
             before = at::constant_pad_nd(x, {1, 0}, 0);
  check(OpKind::max_pool,
        {{max_pool::x, x}, lit(max_pool::kernel_sizes, {2}), lit(max_pool::pad_type, "same")},
        windows(low, {2}, {1}).amax(-1));
  check(OpKind::avg_pool,
        {{avg_pool::x, x}, lit(avg_pool::kernel_sizes, {2}), lit(avg_pool::pad_type, "same_lower")},
        windows(before, {2}, {1}).mean(-1));
  at::Tensor x3 = randn({1, 2, 4, 4, 4}, 2);
  at::Tensor w = windows(x3, {2, 3, 2}, {1, 1, 2});
  check(OpKind::avg_pool,
        {{avg_pool::x, x3},
         lit(avg_pool::kernel_sizes, {2, 3, 2}),
         lit(avg_pool::strides, {1, 1, 2}),
         lit(avg_pool::pad_type, "valid")},
        w.mean({-1, -2, -3}));
  check(OpKind::max_pool,
        {{max_pool::x, x3},
         lit(max_pool::kernel_sizes, {2, 3, 2}),
         lit(max_pool::strides, {1, 1, 2}),
         lit(max_pool::pad_type, "valid")},
        w.amax({-1, -2, -3}));
}

TEST(Norm, BatchNorm) {
  for (std::vector<int64_t> shape : {std::vector<int64_t>{2, 3, 4}, {2, 3, 4, 5}}) {
    at::Tensor x = randn(shape, 1), mean = randn({3}, 2), variance = floats({0.5, 1, 2});
    at::Tensor gamma = randn({3}, 3), beta = randn({3}, 4);
    std::vector<int64_t> c(shape.size(), 1);
    c[1] = 3;
    at::Tensor y = (x - mean.reshape(c)) / at::sqrt(variance.reshape(c) + 0.25);
    Binds binds{{batch_norm::x, x},
                {batch_norm::mean, mean},
                {batch_norm::variance, variance},
                lit(batch_norm::epsilon, 0.25)};
    check(OpKind::batch_norm, binds, y, 1e-4);
    binds.emplace_back(batch_norm::gamma, gamma);
    binds.emplace_back(batch_norm::beta, beta);
    check(OpKind::batch_norm, binds, y * gamma.reshape(c) + beta.reshape(c), 1e-4);
  }
}

TEST(Norm, LayerNormOverAnyAxes) {
  at::Tensor x = randn({2, 3, 4}, 1);
  auto reference = [&](at::IntArrayRef axes) {
    at::Tensor d = x.to(at::kDouble), mean = d.mean(axes, true);
    return (d - mean) / at::sqrt((d - mean).pow(2).mean(axes, true) + 1e-3);
  };
  for (std::vector<int64_t> axes : {std::vector<int64_t>{2}, {1, 2}, {0, 1, 2}, {1}})
    check(OpKind::layer_norm,
          {{layer_norm::x, x},
           lit(layer_norm::axes, llvm::ArrayRef<int64_t>(axes)),
           lit(layer_norm::epsilon, 1e-3)},
          reference(axes), 1e-3);
  at::Tensor gamma = randn({3, 4}, 2), beta = randn({3, 4}, 3);
  check(OpKind::layer_norm,
        {{layer_norm::x, x},
         lit(layer_norm::axes, {-2, -1}),
         {layer_norm::gamma, gamma},
         {layer_norm::beta, beta},
         lit(layer_norm::epsilon, 1e-3)},
        reference({1, 2}) * gamma + beta, 1e-3);
}

TEST(Norm, InstanceL2AndLocalResponse) {
  at::Tensor x = randn({2, 3, 4, 5}, 1), gamma = randn({3}, 2), beta = randn({3}, 3);
  at::Tensor mean = x.mean({2, 3}, true), variance = (x - mean).pow(2).mean({2, 3}, true);
  at::Tensor y = (x - mean) / at::sqrt(variance + 1e-3);
  check(OpKind::instance_norm, {{instance_norm::x, x}, lit(instance_norm::epsilon, 1e-3)}, y, 1e-4);
  check(OpKind::instance_norm,
        {{instance_norm::x, x},
         {instance_norm::gamma, gamma},
         {instance_norm::beta, beta},
         lit(instance_norm::epsilon, 1e-3)},
        y * gamma.reshape({1, 3, 1, 1}) + beta.reshape({1, 3, 1, 1}), 1e-4);
  check(OpKind::l2_norm, {{l2_norm::x, x}, lit(l2_norm::epsilon, 1e-3)},
        x / at::sqrt(x.pow(2).sum({1, 2, 3}, true) + 1e-3));
  at::Tensor x5 = randn({2, 5, 3, 3}, 4), expected = at::zeros_like(x5);
  for (int64_t c = 0; c < 5; ++c) {
    at::Tensor sum =
        x5.pow(2).slice(1, std::max<int64_t>(0, c - 1), std::min<int64_t>(5, c + 2)).sum(1);
    expected.select(1, c).copy_(x5.select(1, c) / at::pow(sum * (0.5 / 3) + 2, 0.75));
  }
  check(OpKind::local_response_norm,
        {{local_response_norm::x, x5},
         lit(local_response_norm::size, 3),
         lit(local_response_norm::alpha, 0.5),
         lit(local_response_norm::beta, 0.75),
         lit(local_response_norm::k, 2.0)},
        expected);
}

} // namespace plait::runtime
