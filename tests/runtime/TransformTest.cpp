// Operations that make, join, split, pad and rearrange tensors.
#include "OpCheck.h"

namespace plait::runtime {

using namespace mil;

TEST(Transform, Shapes) {
  at::Tensor x = randn({2, 3, 4}, 1);
  check(OpKind::reshape, {{0, x}, lit(reshape::shape, {4, 6})}, x.reshape({4, 6}));
  check(OpKind::reshape, {{0, x}, lit(reshape::shape, {0, -1, 2})}, x.reshape({2, 6, 2}));
  check(OpKind::reshape, {{0, x}, lit(reshape::shape, {-1, 0})}, x.reshape({6, 4}));
  check(OpKind::transpose, {{0, x}, lit(transpose::perm, {2, 0, 1})}, x.permute({2, 0, 1}));
  check(OpKind::transpose, {{0, x}, lit(transpose::perm, {-1, 1, 0})}, x.permute({2, 1, 0}));
  check(OpKind::expand_dims, {{0, x}, lit(expand_dims::axes, {0, -1})}, x.reshape({1, 2, 3, 4, 1}));
  at::Tensor ones = randn({1, 3, 1, 2}, 2);
  check(OpKind::squeeze, {{0, ones}}, ones.reshape({3, 2}));
  check(OpKind::squeeze, {{0, ones}, lit(squeeze::axes, {-2})}, ones.reshape({1, 3, 2}));
  check(OpKind::flatten2d, {{0, x}}, x.reshape({2, 12}));
  check(OpKind::flatten2d, {{0, x}, lit(flatten2d::axis, -1)}, x.reshape({6, 4}));
  check(OpKind::shape, {{0, x}}, ints({2, 3, 4}));
  check(OpKind::identity, {{0, x}}, x);
  check(OpKind::reverse, {{0, x}, lit(reverse::axes, {1, -1})}, x.flip({1, 2}));
  check(OpKind::reverse, {{0, x}}, x.flip({0, 1, 2}));
  check(OpKind::tile, {{0, x}, lit(tile::reps, {1, 2, 3})},
        at::cat({at::cat({x, x, x}, 2), at::cat({x, x, x}, 2)}, 1));
}

TEST(Transform, ReshapeLikeTakesAxesOfOthers) {
  namespace r = reshape_like;
  at::Tensor x = randn({6, 30}, 1), a = randn({2, 3, 4}, 2), b = randn({1, 5, 6}, 3);
  auto result = runOp(
      OpKind::reshape_like,
      {{r::x, x},
       {r::ref_tensors, std::vector<at::Tensor>{a, b}},
       {r::begins,
        std::vector<at::Tensor>{at::scalar_tensor(0, at::kInt), at::scalar_tensor(1, at::kInt)}},
       {r::ends,
        std::vector<at::Tensor>{at::scalar_tensor(2, at::kInt), at::scalar_tensor(0, at::kInt)}},
       {r::end_masks, std::vector<at::Tensor>{at::scalar_tensor(false, at::kBool),
                                              at::scalar_tensor(true, at::kBool)}}});
  ASSERT_EQ(result.size(), 1u);
  EXPECT_TRUE(at::equal(result[0], x.reshape({2, 3, 5, 6})));
}

TEST(Transform, ReverseSequence) {
  at::Tensor x = ints({1, 2, 3, 4, 5, 6, 7, 8}).reshape({2, 4});
  check(OpKind::reverse_sequence,
        {{0, x},
         {reverse_sequence::lengths, ints({3, 2})},
         lit(reverse_sequence::seq_axis, 1),
         lit(reverse_sequence::batch_axis, 0)},
        ints({3, 2, 1, 4, 6, 5, 7, 8}).reshape({2, 4}));
  check(OpKind::reverse_sequence,
        {{0, x.t().contiguous()},
         {reverse_sequence::lengths, ints({3, 2})},
         lit(reverse_sequence::seq_axis, 0),
         lit(reverse_sequence::batch_axis, 1)},
        ints({3, 2, 1, 4, 6, 5, 7, 8}).reshape({2, 4}).t());
}

TEST(Transform, SlidingWindows) {
  at::Tensor x = randn({2, 7}, 1);
  at::Tensor expected = at::stack({x.slice(1, 0, 3), x.slice(1, 2, 5), x.slice(1, 4, 7)}, 1);
  check(OpKind::sliding_windows,
        {{0, x},
         lit(sliding_windows::axis, 1),
         lit(sliding_windows::size, 3),
         lit(sliding_windows::stride, 2)},
        expected);
  check(OpKind::sliding_windows,
        {{0, x}, lit(sliding_windows::axis, 0), lit(sliding_windows::size, 2)}, x.unsqueeze(0));
}

TEST(Transform, SpaceAndDepth) {
  at::Tensor x = randn({2, 8, 3, 2}, 1);
  at::Tensor y = at::zeros({2, 2, 6, 4}), shuffled = at::zeros({2, 2, 6, 4});
  for (int64_t c = 0; c < 2; ++c)
    for (int64_t i = 0; i < 6; ++i)
      for (int64_t j = 0; j < 4; ++j) {
        int64_t block = (i % 2) * 2 + j % 2;
        y.select(1, c).select(1, i).select(1, j).copy_(
            x.select(1, block * 2 + c).select(1, i / 2).select(1, j / 2));
        shuffled.select(1, c).select(1, i).select(1, j).copy_(
            x.select(1, c * 4 + block).select(1, i / 2).select(1, j / 2));
      }
  check(OpKind::depth_to_space, {{0, x}, lit(depth_to_space::block_size, 2)}, y);
  check(OpKind::space_to_depth, {{0, y}, lit(space_to_depth::block_size, 2)}, x);
  check(OpKind::pixel_shuffle, {{0, x}, lit(pixel_shuffle::upscale_factor, 2)}, shuffled);
  check(OpKind::pixel_unshuffle, {{0, shuffled}, lit(pixel_unshuffle::downscale_factor, 2)}, x);
}

TEST(Transform, SpaceAndBatch) {
  at::Tensor x = randn({1, 2, 3, 4}, 1);
  at::Tensor padded = at::constant_pad_nd(x, {0, 0, 1, 0}, 0);
  at::Tensor expected = at::cat(
      {padded.slice(2, 0, 4, 2).slice(3, 0, 4, 2), padded.slice(2, 0, 4, 2).slice(3, 1, 4, 2),
       padded.slice(2, 1, 4, 2).slice(3, 0, 4, 2), padded.slice(2, 1, 4, 2).slice(3, 1, 4, 2)});
  Bind block = lit(space_to_batch::block_shape, {2, 2});
  at::Tensor paddings = ints({1, 0, 0, 0}).reshape({2, 2});
  check(OpKind::space_to_batch, {{0, x}, block, {space_to_batch::paddings, paddings}}, expected);
  check(
      OpKind::batch_to_space,
      {{0, expected}, lit(batch_to_space::block_shape, {2, 2}), {batch_to_space::crops, paddings}},
      x);
}

TEST(Transform, ConcatSplitStack) {
  at::Tensor a = randn({2, 3}, 1), b = randn({2, 3}, 2), c = randn({2, 1}, 3);
  check(OpKind::concat, {{concat::values, {a, c, b}}, lit(concat::axis, -1)},
        at::cat({a, c, b}, 1));
  at::Tensor mixed = at::zeros({4, 3});
  mixed.slice(0, 0, 4, 2).copy_(a);
  mixed.slice(0, 1, 4, 2).copy_(b);
  check(OpKind::concat,
        {{concat::values, {a, b}}, lit(concat::axis, 0), lit(concat::interleave, true)}, mixed);
  check(OpKind::stack, {{stack::values, {a, b}}, lit(stack::axis, 1)},
        at::cat({a.unsqueeze(1), b.unsqueeze(1)}, 1));
  check(OpKind::stack, {{stack::values, {a, b}}, lit(stack::axis, -1)},
        at::cat({a.unsqueeze(2), b.unsqueeze(2)}, 2));
  check(OpKind::split, {{split::x, a}, lit(split::num_splits, 3), lit(split::axis, 1)},
        std::vector<at::Tensor>{a.slice(1, 0, 1), a.slice(1, 1, 2), a.slice(1, 2, 3)});
  check(OpKind::split, {{split::x, a}, lit(split::split_sizes, {1, 2}), lit(split::axis, -1)},
        std::vector<at::Tensor>{a.slice(1, 0, 1), a.slice(1, 1, 3)});
}

TEST(Transform, PadModes) {
  at::Tensor x = randn({1, 2, 3, 4}, 1);
  check(OpKind::pad, {{pad::x, x}, lit(pad::pad, {1, 2, 0, 3}), lit(pad::constant_val, 0.5)},
        at::constant_pad_nd(x, {0, 3, 1, 2}, 0.5));
  check(OpKind::pad, {{pad::x, x}, lit(pad::pad, {1, 2, 2, 3}), lit(pad::mode, "reflect")},
        at::reflection_pad2d(x, {2, 3, 1, 2}));
  check(OpKind::pad, {{pad::x, x}, lit(pad::pad, {1, 2, 2, 3}), lit(pad::mode, "replicate")},
        at::replication_pad2d(x, {2, 3, 1, 2}));
  check(OpKind::pad,
        {{pad::x, floats({1, 2, 3})}, lit(pad::pad, {0, 2}), lit(pad::mode, "reflect")},
        floats({1, 2, 3, 2, 1}));
}

TEST(Transform, FillsAndRanges) {
  check(OpKind::fill, {{fill::shape, ints({2, 3})}, lit(fill::value, 1.5)}, at::full({2, 3}, 1.5));
  check(OpKind::fill_like, {{0, randn({2, 2})}, lit(fill_like::value, 2.0)}, at::full({2, 2}, 2.0));
  auto scalar = [](double v) { return at::scalar_tensor(v, at::kFloat); };
  check(
      OpKind::range_1d,
      {{range_1d::start, scalar(1)}, {range_1d::end, scalar(2.1)}, {range_1d::step, scalar(0.25)}},
      floats({1, 1.25, 1.5, 1.75, 2}));
  auto whole = [](int64_t v) { return at::scalar_tensor(v, at::kInt); };
  check(OpKind::range_1d,
        {{range_1d::start, whole(5)}, {range_1d::end, whole(-1)}, {range_1d::step, whole(-2)}},
        ints({5, 3, 1}));
}

TEST(Transform, OneHot) {
  at::Tensor indices = ints({1, 0, 3});
  check(
      OpKind::one_hot,
      {{one_hot::indices, indices}, {one_hot::one_hot_vector_size, at::scalar_tensor(3, at::kInt)}},
      ints({0, 1, 0, 1, 0, 0, 0, 0, 0}).reshape({3, 3}));
  check(OpKind::one_hot,
        {{one_hot::indices, indices},
         {one_hot::one_hot_vector_size, at::scalar_tensor(2, at::kInt)},
         lit(one_hot::axis, 0),
         {one_hot::on_value, at::scalar_tensor(2.5, at::kFloat)},
         {one_hot::off_value, at::scalar_tensor(-1, at::kFloat)}},
        floats({-1, 2.5, -1, 2.5, -1, -1}).reshape({2, 3}));
}

TEST(Transform, CumsumExclusiveAndReverse) {
  at::Tensor x = floats({1, 2, 3, 4});
  auto run = [&](bool exclusive, bool reverse, const at::Tensor &expected) {
    check(OpKind::cumsum,
          {{0, x},
           lit(cumsum::axis, 0),
           lit(cumsum::exclusive, exclusive),
           lit(cumsum::reverse, reverse)},
          expected);
  };
  run(false, false, floats({1, 3, 6, 10}));
  run(true, false, floats({0, 1, 3, 6}));
  run(false, true, floats({10, 9, 7, 4}));
  run(true, true, floats({9, 7, 4, 0}));
  at::Tensor m = ints({1, 2, 3, 4}).reshape({2, 2});
  check(OpKind::cumsum, {{0, m}, lit(cumsum::axis, -1)}, ints({1, 3, 3, 7}).reshape({2, 2}));
}

TEST(Transform, BandPart) {
  at::Tensor x = randn({2, 4, 5}, 1);
  for (int64_t lower : {-1, 0, 2})
    for (int64_t upper : {-1, 0, 1}) {
      at::Tensor expected = x.clone();
      for (int64_t i = 0; i < 4; ++i)
        for (int64_t j = 0; j < 5; ++j)
          if ((lower >= 0 && i - j > lower) || (upper >= 0 && j - i > upper))
            expected.select(1, i).select(1, j).zero_();
      check(OpKind::band_part, {{0, x}, lit(band_part::lower, lower), lit(band_part::upper, upper)},
            expected);
    }
}

TEST(Quantize, RoundsAndClamps) {
  at::Tensor x = floats({-10, -0.25, 0.25, 0.75, 100});
  check(OpKind::quantize,
        {{quantize::input, x}, lit(quantize::scale, 0.5), lit(quantize::output_dtype, "int8")},
        ints({-20, 0, 0, 2, 127}).to(at::kChar));
  check(OpKind::quantize,
        {{quantize::input, x},
         lit(quantize::scale, 0.5),
         {quantize::zero_point, at::scalar_tensor(3, at::kByte)},
         lit(quantize::output_dtype, "uint8")},
        ints({0, 3, 3, 5, 203}).to(at::kByte));
  at::Tensor q = ints({1, 2, 3, 4}).to(at::kChar).reshape({2, 2});
  check(OpKind::dequantize,
        {{dequantize::input, q},
         {dequantize::scale, floats({0.5, 2})},
         {dequantize::zero_point, ints({1, 0}).to(at::kChar)},
         lit(dequantize::axis, 0)},
        floats({0, 0.5, 6, 8}).reshape({2, 2}));
  check(OpKind::dequantize, {{dequantize::input, q}, lit(dequantize::scale, 0.25)},
        q.to(at::kFloat) / 4);
}

TEST(Random, SeededDrawsRepeat) {
  auto twice = [](OpKind kind, Binds binds) {
    at::Tensor a = runOp(kind, binds).at(0), b = runOp(kind, binds).at(0);
    EXPECT_TRUE(at::equal(a, b)) << name(kind).str();
    return a.to(at::kDouble);
  };
  at::Tensor shape = ints({4000});
  at::Tensor normal = twice(OpKind::random_normal, {{random_normal::shape, shape},
                                                    lit(random_normal::mean, 2.0),
                                                    lit(random_normal::stddev, 0.5),
                                                    lit(random_normal::seed, 7)});
  EXPECT_NEAR(normal.mean().item<double>(), 2, 0.05);
  EXPECT_NEAR(normal.std().item<double>(), 0.5, 0.05);
  at::Tensor uniform = twice(OpKind::random_uniform, {{random_uniform::shape, shape},
                                                      lit(random_uniform::low, -1.0),
                                                      lit(random_uniform::high, 3.0),
                                                      lit(random_uniform::seed, 7)});
  EXPECT_GE(uniform.min().item<double>(), -1);
  EXPECT_LE(uniform.max().item<double>(), 3);
  EXPECT_NEAR(uniform.mean().item<double>(), 1, 0.1);
  at::Tensor bernoulli = twice(OpKind::random_bernoulli, {{random_bernoulli::shape, shape},
                                                          lit(random_bernoulli::prob, 0.25),
                                                          lit(random_bernoulli::seed, 7)});
  EXPECT_NEAR(bernoulli.mean().item<double>(), 0.25, 0.05);
  at::Tensor categorical = twice(OpKind::random_categorical,
                                 {{random_categorical::x, floats({0.25, 0.75}).reshape({1, 2})},
                                  lit(random_categorical::mode, "probs"),
                                  lit(random_categorical::size, 2000),
                                  lit(random_categorical::seed, 7)});
  EXPECT_NEAR(categorical.mean().item<double>(), 0.75, 0.05);
}

} // namespace plait::runtime
