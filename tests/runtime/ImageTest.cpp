// Resizing and sampling against LibTorch's own (where the rules meet) and the documented grids.
#include "OpCheck.h"

namespace plait::runtime {

using namespace mil;

TEST(Resize, GridsOfTheSamplingModes) {
  // A ramp reads back the grid points themselves: coremltools documents these for two pixels.
  at::Tensor ramp = floats({0, 1, 0, 1}).reshape({1, 2, 2});
  auto grid = [&](const char *mode, int64_t count) {
    at::Tensor y = runOp(OpKind::resize_bilinear, {{0, ramp},
                                                   lit(resize_bilinear::target_size_height, 2),
                                                   lit(resize_bilinear::target_size_width, count),
                                                   lit(resize_bilinear::sampling_mode, mode)})
                       .at(0);
    return y[0][0];
  };
  auto expect = [&](const char *mode, int64_t count, std::initializer_list<double> points) {
    expectClose(grid(mode, count), floats(points), 1e-5, mode);
  };
  expect("UNALIGN_CORNERS", 5, {0, 0.1, 0.5, 0.9, 1});
  expect("STRICT_ALIGN_CORNERS", 5, {0, 0.25, 0.5, 0.75, 1});
  expect("ALIGN_CORNERS", 5, {0, 0.25, 0.5, 0.75, 1});
  expect("DEFAULT", 5, {0, 0.4, 0.8, 1, 1});
  expect("OFFSET_CORNERS", 5, {0.1, 0.3, 0.5, 0.7, 0.9});
  expect("UNALIGN_CORNERS", 6, {0, 0, 1.0 / 3, 2.0 / 3, 1, 1});
  expect("DEFAULT", 6, {0, 1.0 / 3, 2.0 / 3, 1, 1, 1});
  expect("OFFSET_CORNERS", 6, {1.0 / 12, 0.25, 5.0 / 12, 7.0 / 12, 0.75, 11.0 / 12});
  expect("ALIGN_CORNERS", 1, {0.5});
  expect("STRICT_ALIGN_CORNERS", 1, {0});
}

TEST(Resize, BilinearAgreesWithPyTorch) {
  at::Tensor x = randn({1, 2, 5, 4}, 1);
  for (auto [h, w] : {std::pair<int64_t, int64_t>{10, 8}, {7, 9}, {3, 2}}) {
    auto run = [&](const char *mode, bool align) {
      check(OpKind::resize_bilinear,
            {{0, x},
             lit(resize_bilinear::target_size_height, h),
             lit(resize_bilinear::target_size_width, w),
             lit(resize_bilinear::sampling_mode, mode)},
            at::upsample_bilinear2d(x, {h, w}, align), 1e-4);
    };
    run("STRICT_ALIGN_CORNERS", true);
    run("UNALIGN_CORNERS", false);
  }
}

TEST(Resize, UpsampleByFactors) {
  at::Tensor x = randn({1, 2, 4, 6}, 1);
  auto factor = [](double v) { return at::scalar_tensor(v, at::kFloat); };
  namespace b = upsample_bilinear;
  check(OpKind::upsample_bilinear,
        {{0, x}, {b::scale_factor_height, factor(2)}, {b::scale_factor_width, factor(1.5)}},
        at::upsample_bilinear2d(x, {8, 9}, true), 1e-4);
  check(OpKind::upsample_bilinear,
        {{0, x},
         {b::scale_factor_height, factor(2)},
         {b::scale_factor_width, factor(1.5)},
         lit(b::align_corners, false)},
        at::upsample_bilinear2d(x, {8, 9}, false), 1e-4);
  namespace n = upsample_nearest_neighbor;
  check(OpKind::upsample_nearest_neighbor,
        {{0, x}, {n::scale_factor_height, factor(2)}, {n::scale_factor_width, factor(3)}},
        x.repeat_interleave(2, 2).repeat_interleave(3, 3));
  check(OpKind::resize_nearest_neighbor,
        {{0, x},
         lit(resize_nearest_neighbor::target_size_height, 7),
         lit(resize_nearest_neighbor::target_size_width, 4)},
        at::upsample_nearest2d(x, {7, 4}));
}

TEST(Resize, TheNewestFormTakesAShape) {
  at::Tensor x = randn({1, 2, 4, 6}, 1);
  check(OpKind::resize,
        {{0, x},
         {resize::shape, ints({1, 8, 0})},
         lit(resize::resized_dims, 2),
         lit(resize::sampling_mode, "UNALIGN_CORNERS")},
        at::upsample_bilinear2d(x, {8, 6}, false), 1e-4);
  check(OpKind::resize,
        {{0, x},
         {resize::shape, ints({8, 9})},
         lit(resize::resized_dims, 2),
         lit(resize::interpolation_mode, "NEAREST_NEIGHBOR")},
        at::upsample_nearest2d(x, {8, 9}));
  check(OpKind::resize,
        {{0, x},
         {resize::shape, ints({9, 4})},
         lit(resize::resized_dims, 2),
         lit(resize::interpolation_mode, "NEAREST_NEIGHBOR"),
         lit(resize::sampling_mode, "UNALIGN_CORNERS")},
        at::_upsample_nearest_exact2d(x, {9, 4}));
}

TEST(Sample, ResampleAgreesWithGridSample) {
  namespace r = resample;
  at::Tensor x = randn({2, 3, 5, 6}, 1), grid = half(randn({2, 4, 3, 2}, 2) * 0.8);
  struct {
    const char *name;
    int64_t padding;
    bool align;
  } cases[] = {{"constant", 0, true}, {"constant", 0, false},  {"border", 1, true},
               {"border", 1, false},  {"reflection", 2, true}, {"symmetric", 2, false}};
  for (const auto &c : cases)
    for (bool nearest : {false, true}) {
      // PyTorch clips what it reflects, so that a tap never reads beyond the edge by half a pixel:
      // the same values wherever the image is padded by its own.
      at::Tensor expected = at::grid_sampler(x, grid, nearest ? 1 : 0, c.padding, c.align);
      check(OpKind::resample,
            {{r::x, x},
             {r::coordinates, grid},
             lit(r::sampling_mode, nearest ? "nearest" : "bilinear"),
             lit(r::padding_mode, c.name),
             lit(r::padding_value, 0.0),
             lit(r::coordinates_mode, "normalized_minus_one_to_one"),
             lit(r::align_corners, c.align)},
            expected, 1e-4);
    }
}

TEST(Sample, ResampleCoordinatesAndPaddingValue) {
  namespace r = resample;
  at::Tensor x = floats({1, 2, 3, 4, 5, 6}).reshape({1, 1, 2, 3});
  at::Tensor pixels = floats({0.5, 0, 2, 1, -1, 0, 1, 0.5}).reshape({1, 2, 2, 2});
  Binds binds{{r::x, x},
              {r::coordinates, pixels},
              lit(r::sampling_mode, "bilinear"),
              lit(r::padding_mode, "constant"),
              lit(r::padding_value, 10.0),
              lit(r::coordinates_mode, "unnormalized"),
              lit(r::align_corners, true)};
  check(OpKind::resample, binds, floats({1.5, 6, 10, 3.5}).reshape({1, 1, 2, 2}));
  at::Tensor unit = floats({0.25, 0, 1, 1, 0.5, 0.5, 0, 1}).reshape({1, 2, 2, 2});
  binds[1] = Bind(r::coordinates, unit);
  binds[5] = lit(r::coordinates_mode, "normalized_zero_to_one");
  check(OpKind::resample, binds, floats({1.5, 6, 3.5, 4}).reshape({1, 1, 2, 2}));
}

TEST(Sample, AffineAgreesWithGridSample) {
  namespace a = affine;
  at::Tensor x = randn({2, 3, 5, 6}, 1);
  at::Tensor theta = floats({0.75, 0.25, 0.125, -0.25, 0.5, 0, 1, 0, 0, 0, 1, 0}).reshape({2, 6});
  at::Tensor grid = at::affine_grid_generator(theta.reshape({2, 2, 3}), {2, 3, 4, 7}, true);
  check(OpKind::affine,
        {{a::x, x},
         {a::transform_matrix, theta},
         lit(a::output_height, 4),
         lit(a::output_width, 7),
         lit(a::sampling_mode, "bilinear"),
         lit(a::padding_mode, "constant"),
         lit(a::padding_value, 0.0),
         lit(a::coordinates_mode, "normalized_minus_one_to_one"),
         lit(a::align_corners, true)},
        at::grid_sampler(x, grid, 0, 0, true), 1e-4);
}

TEST(Sample, CropResize) {
  namespace c = crop_resize;
  at::Tensor x = at::arange(2 * 4 * 5, at::kFloat).reshape({2, 1, 4, 5});
  at::Tensor boxes = floats({0, 1, 2, 3, 1, 0, 3, 4}).reshape({2, 4}); // y0 x0 y1 x1
  Binds binds{{c::x, x},
              {c::boxes, boxes},
              {c::box_indices, ints({1, 0})},
              lit(c::target_height, 3),
              lit(c::target_width, 3),
              lit(c::sampling_mode, "STRICT_ALIGN_CORNERS")};
  at::Tensor expected =
      at::stack({x[1].slice(1, 0, 3).slice(2, 1, 4), x[0].slice(1, 1, 4).slice(2, 0, 5, 2)});
  check(OpKind::crop_resize, binds, expected);
  // The same boxes, width first and normalized.
  at::Tensor unit = floats({1.0 / 4, 0, 3.0 / 4, 2.0 / 3, 0, 1.0 / 3, 1, 1}).reshape({2, 4});
  Binds other = binds;
  other[1] = Bind(c::boxes, unit);
  other.push_back(lit(c::box_coordinate_mode, "CORNERS_WIDTH_FIRST"));
  other.push_back(lit(c::normalized_coordinates, true));
  expectClose(runOp(OpKind::crop_resize, other).at(0), expected, 1e-4, "normalized boxes");
  // Twice the coordinates at half the scale; beyond the image lies pad_value.
  Binds scaled = binds;
  scaled[1] = Bind(c::boxes, floats({0, 2, 4, 6, 2, 4, 10, 8}).reshape({2, 4}));
  scaled.push_back(lit(c::spatial_scale, 0.5));
  scaled.push_back(lit(c::pad_value, -1.0));
  at::Tensor beyond =
      at::stack({expected[0],
                 at::cat({x[0].slice(1, 1, 4, 2).slice(2, 2, 5), at::full({1, 1, 3}, -1.0)}, 1)});
  check(OpKind::crop_resize, scaled, beyond);
}

} // namespace plait::runtime
