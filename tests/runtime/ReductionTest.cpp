// Reductions, sorting, gathering, scattering and slicing against loops and NumPy's rules.
#include "OpCheck.h"

namespace plait::runtime {

using namespace mil;

TEST(Reduce, EveryFormulaOverAnyAxes) {
  at::Tensor x = randn({2, 3, 4}, 1), p = at::abs(x) + 0.5;
  for (std::vector<int64_t> axes : {std::vector<int64_t>{0}, {1}, {-1}, {0, 2}, {1, 2}, {0, 1, 2}})
    for (bool keep : {false, true}) {
      auto run = [&](OpKind kind, const at::Tensor &input, const at::Tensor &expected) {
        check(kind,
              {{0, input},
               lit(reduce_sum::axes, llvm::ArrayRef<int64_t>(axes)),
               lit(reduce_sum::keep_dims, keep)},
              expected, 1e-4);
      };
      at::Tensor d = x.to(at::kDouble), q = p.to(at::kHalf).to(at::kDouble);
      run(OpKind::reduce_sum, x, d.sum(axes, keep));
      run(OpKind::reduce_mean, x, d.mean(axes, keep));
      run(OpKind::reduce_max, x, -(-d).amin(axes, keep));
      run(OpKind::reduce_min, x, -(-d).amax(axes, keep));
      run(OpKind::reduce_l1_norm, x, at::abs(d).sum(axes, keep));
      run(OpKind::reduce_l2_norm, x, at::sqrt(at::pow(d, 2).sum(axes, keep)));
      run(OpKind::reduce_sum_square, x, at::pow(d, 2).sum(axes, keep));
      run(OpKind::reduce_log_sum, q.to(at::kFloat), at::log(q.sum(axes, keep)));
      run(OpKind::reduce_log_sum_exp, x, at::log(at::exp(d).sum(axes, keep)));
      run(OpKind::reduce_prod, q.to(at::kFloat), at::exp(at::log(q).sum(axes, keep)));
    }
}

TEST(Reduce, WithoutAxesEverything) {
  at::Tensor x = randn({3, 4}, 1);
  check(OpKind::reduce_sum, {{0, x}}, x.to(at::kDouble).sum(), 1e-4);
  check(OpKind::reduce_max, {{0, x}, lit(reduce_max::keep_dims, true)},
        x.flatten().amax().reshape({1, 1}));
}

TEST(Reduce, Integers) {
  at::Tensor x = ints({5, -2, 4});
  check(OpKind::reduce_sum, {{0, x}}, at::scalar_tensor(7));
  check(OpKind::reduce_prod, {{0, x}}, at::scalar_tensor(-40));
  check(OpKind::reduce_mean, {{0, x}}, at::scalar_tensor(2));
  check(OpKind::reduce_max, {{0, x}}, at::scalar_tensor(5));
  check(OpKind::reduce_l1_norm, {{0, x}}, at::scalar_tensor(11));
  check(OpKind::reduce_l2_norm, {{0, x}}, at::scalar_tensor(6));
  check(OpKind::reduce_sum_square, {{0, x}}, at::scalar_tensor(45));
}

TEST(Reduce, ArgumentsOfExtremesTakeTheFirst) {
  at::Tensor x = floats({1, 3, 3, 0, 0, 2}).reshape({2, 3});
  check(OpKind::reduce_argmax, {{0, x}}, ints({1, 2}));
  check(OpKind::reduce_argmin, {{0, x}}, ints({0, 0}));
  check(OpKind::reduce_argmax, {{0, x}, lit(reduce_argmax::axis, 0)}, ints({0, 0, 0}));
  check(OpKind::reduce_argmin,
        {{0, x}, lit(reduce_argmin::axis, 0), lit(reduce_argmin::keep_dims, true)},
        ints({1, 1, 1}).reshape({1, 3}));
}

TEST(Sort, TopkKeepsTheOrderOfEqualElements) {
  at::Tensor x = floats({2, 7, 7, 1, 2});
  check(OpKind::topk, {{topk::x, x}, lit(topk::k, 3)}, {floats({7, 7, 2}), ints({1, 2, 0})});
  check(OpKind::topk, {{topk::x, x}, lit(topk::k, 4), lit(topk::ascending, true)},
        {floats({1, 2, 2, 7}), ints({3, 0, 4, 1})});
  at::Tensor m = randn({3, 4, 2}, 1);
  auto [values, indices] = at::topk(m, 2, 1, true, true);
  check(OpKind::topk, {{topk::x, m}, lit(topk::k, 2), lit(topk::axis, 1)}, {values, indices});
  check(OpKind::topk, {{topk::x, x}, lit(topk::k, 2), lit(topk::return_indices, false)},
        floats({7, 7}));
}

TEST(Sort, Argsort) {
  at::Tensor x = floats({2, 7, 7, 1, 2});
  check(OpKind::argsort, {{argsort::x, x}}, ints({1, 2, 0, 4, 3}));
  check(OpKind::argsort, {{argsort::x, x}, lit(argsort::ascending, true)}, ints({3, 0, 4, 1, 2}));
  at::Tensor m = ints({3, 1, 2, 1, 2, 3}).reshape({2, 3});
  check(OpKind::argsort, {{argsort::x, m}, lit(argsort::axis, 0)},
        ints({0, 1, 1, 1, 0, 0}).reshape({2, 3}));
}

TEST(Sort, NonZeroListsCoordinates) {
  at::Tensor x = floats({0, 3, 0, 4}).reshape({2, 2});
  at::Tensor rows = runOp(OpKind::non_zero, {{non_zero::x, x}}).at(0);
  EXPECT_TRUE(at::equal(rows, ints({0, 1, 1, 1}).reshape({2, 2})));
}

TEST(Sort, NonMaximumSuppression) {
  namespace nms = non_maximum_suppression;
  // Three boxes: the second overlaps the first by 9 / 11, the third lies apart.
  at::Tensor boxes = floats({5, 5, 10, 10, 6, 5, 10, 10, 50, 50, 10, 10}).reshape({1, 3, 4});
  at::Tensor scores = floats({0.5, 0.25, 0.25, 0.75, 0.125, 0.5}).reshape({1, 3, 2});
  auto run = [&](bool perClass, double threshold) {
    return runOp(OpKind::non_maximum_suppression,
                 {{nms::boxes, boxes.transpose(1, 2).contiguous()},
                  {nms::scores, scores.transpose(1, 2).contiguous()},
                  lit(nms::iou_threshold, threshold),
                  lit(nms::max_boxes, 3),
                  lit(nms::per_class_suppression, perClass)});
  };
  auto kept = run(false, 0.5);
  ASSERT_EQ(kept.size(), 3u);
  EXPECT_TRUE(at::equal(kept[2], ints({1, 2, -1}).reshape({1, 3})));
  EXPECT_TRUE(at::equal(kept[0].select(2, 0), boxes.select(1, 1)));
  EXPECT_TRUE(at::equal(kept[1].select(2, 1), scores.select(1, 2)));
  EXPECT_TRUE(at::equal(kept[0].select(2, 2), at::zeros({1, 4})));
  // Box 0 is of class 0 and box 1 of class 1: apart, both stay (0 and 2 tie, 0 comes first).
  EXPECT_TRUE(at::equal(run(true, 0.5)[2], ints({1, 0, 2}).reshape({1, 3})));
  EXPECT_TRUE(at::equal(run(false, 0.9)[2], ints({1, 0, 2}).reshape({1, 3})));
}

TEST(Gather, AxisAndBatchDimensions) {
  at::Tensor x = randn({3, 4, 5}, 1), indices = ints({2, 0, 3, 1}).reshape({2, 2});
  at::Tensor expected = at::zeros({3, 2, 2, 5});
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 2; ++j)
      expected.select(1, i).select(1, j).copy_(x.select(1, indices[i][j].item<int>()));
  check(OpKind::gather, {{gather::x, x}, {gather::indices, indices}, lit(gather::axis, 1)},
        expected);
  check(OpKind::gather, {{gather::x, x}, {gather::indices, at::scalar_tensor(2, at::kInt)}}, x[2]);
  at::Tensor batched = randint(0, 5, {3, 2}, 2);
  at::Tensor result = at::zeros({3, 4, 2});
  for (int64_t b = 0; b < 3; ++b)
    for (int64_t n = 0; n < 2; ++n)
      result[b].select(1, n).copy_(x[b].select(1, batched[b][n].item<int>()));
  check(OpKind::gather,
        {{gather::x, x},
         {gather::indices, batched},
         lit(gather::axis, 2),
         lit(gather::batch_dims, 1)},
        result);
}

TEST(Gather, RefusesWhatCoreMLLeavesUndefined) {
  at::Tensor x = randn({4, 2}, 1);
  EXPECT_NE(failureOf(OpKind::gather, {{gather::x, x}, {gather::indices, ints({4})}})
                .find("index 4 is outside [0, 4)"),
            std::string::npos);
  EXPECT_NE(failureOf(OpKind::gather, {{gather::x, x}, {gather::indices, ints({-1})}})
                .find("index -1 is outside"),
            std::string::npos);
}

TEST(Gather, AlongAxis) {
  at::Tensor x = randn({3, 4}, 1), indices = randint(0, 3, {2, 4}, 2);
  at::Tensor expected = at::zeros({2, 4});
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 4; ++j)
      expected[i][j].copy_(x[indices[i][j].item<int>()][j]);
  check(OpKind::gather_along_axis,
        {{gather_along_axis::x, x}, {gather_along_axis::indices, indices}}, expected);
}

TEST(Gather, Nd) {
  at::Tensor x = randn({3, 4, 5}, 1), indices = ints({2, 1, 0, 3}).reshape({2, 2});
  check(OpKind::gather_nd, {{gather_nd::x, x}, {gather_nd::indices, indices}},
        at::stack({x[2][1], x[0][3]}));
  check(OpKind::gather_nd, {{gather_nd::x, x}, {gather_nd::indices, ints({2, 1, 4})}}, x[2][1][4]);
  at::Tensor batched = ints({3, 0, 1}).reshape({3, 1});
  check(OpKind::gather_nd,
        {{gather_nd::x, x}, {gather_nd::indices, batched}, lit(gather_nd::batch_dims, 1)},
        at::stack({x[0][3], x[1][0], x[2][1]}));
}

/// One element after the other.
static double apply(const std::string &mode, double old, double update) {
  return mode == "add"   ? old + update
         : mode == "sub" ? old - update
         : mode == "mul" ? old * update
         : mode == "div" ? old / update
         : mode == "max" ? std::max(old, update)
         : mode == "min" ? std::min(old, update)
                         : update;
}

TEST(Scatter, EveryMode) {
  at::Tensor data = randn({4, 3}, 1), indices = ints({2, 0, 2}), updates = randn({3, 3}, 2);
  updates = at::where(at::abs(updates) < 0.25, updates + 1, updates).to(at::kHalf).to(at::kFloat);
  for (const char *mode : {"add", "sub", "mul", "div", "max", "min", "update"}) {
    bool update = std::string(mode) == "update"; // writes one element twice in no defined order
    at::Tensor places = update ? ints({2, 0, 3}) : indices;
    at::Tensor rows = data.clone(), columns = data.clone().t().contiguous();
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 3; ++j) {
        at::Tensor cell = rows[places[i].item<int>()][j];
        cell.fill_(apply(mode, cell.item<double>(), updates[i][j].item<double>()));
      }
    columns = rows.t().contiguous();
    check(OpKind::scatter,
          {{scatter::data, data},
           {scatter::indices, places},
           {scatter::updates, updates},
           lit(scatter::mode, mode)},
          rows, 1e-4);
    check(OpKind::scatter,
          {{scatter::data, data.t().contiguous()},
           {scatter::indices, places},
           {scatter::updates, updates.t().contiguous()},
           lit(scatter::axis, 1),
           lit(scatter::mode, mode)},
          columns, 1e-4);
    check(OpKind::scatter_nd,
          {{scatter_nd::data, data},
           {scatter_nd::indices, places.reshape({3, 1})},
           {scatter_nd::updates, updates},
           lit(scatter_nd::mode, mode)},
          rows, 1e-4);
    at::Tensor along = places.reshape({3, 1}).expand({3, 3}).contiguous();
    check(OpKind::scatter_along_axis,
          {{scatter_along_axis::data, data},
           {scatter_along_axis::indices, along},
           {scatter_along_axis::updates, updates},
           lit(scatter_along_axis::mode, mode)},
          rows, 1e-4);
  }
}

TEST(Scatter, NdSingleElements) {
  at::Tensor data = ints({1, 2, 3, 4, 5, 6}).reshape({2, 3});
  check(OpKind::scatter_nd,
        {{scatter_nd::data, data},
         {scatter_nd::indices, ints({0, 2, 1, 0}).reshape({2, 2})},
         {scatter_nd::updates, ints({10, 20})},
         lit(scatter_nd::mode, "add")},
        ints({1, 2, 13, 24, 5, 6}).reshape({2, 3}));
}

TEST(Slice, ByIndexFollowsPython) {
  namespace s = slice_by_index;
  at::Tensor x = randn({4, 6}, 1);
  auto run = [&](std::initializer_list<int64_t> begin, std::initializer_list<int64_t> end,
                 std::initializer_list<int64_t> stride, const at::Tensor &expected) {
    check(OpKind::slice_by_index,
          {{s::x, x}, lit(s::begin, begin), lit(s::end, end), lit(s::stride, stride)}, expected);
  };
  run({1, 0}, {3, 6}, {1, 2}, x.slice(0, 1, 3).slice(1, 0, 6, 2));
  run({-3, -2}, {-1, 100}, {1, 1}, x.slice(0, 1, 3).slice(1, 4, 6));
  run({3, 5}, {0, 1}, {-1, -2}, x.flip(0).slice(0, 0, 3).flip(1).slice(1, 0, 4, 2));
}

TEST(Slice, ByIndexMasks) {
  namespace s = slice_by_index;
  at::Tensor x = randn({4, 6}, 1);
  check(OpKind::slice_by_index,
        {{s::x, x},
         lit(s::begin, {2, 3}),
         lit(s::end, {3, 4}),
         flags(s::begin_mask, {true, false}),
         flags(s::end_mask, {false, true})},
        x.slice(0, 0, 3).slice(1, 3, 6));
  check(OpKind::slice_by_index,
        {{s::x, x},
         lit(s::begin, {0, 0}),
         lit(s::end, {0, 0}),
         lit(s::stride, {-1, 1}),
         flags(s::begin_mask, {true, true}),
         flags(s::end_mask, {true, true})},
        x.flip(0));
  check(OpKind::slice_by_index,
        {{s::x, x},
         lit(s::begin, {-1, 1}),
         lit(s::end, {0, 3}),
         flags(s::squeeze_mask, {true, false})},
        x[3].slice(0, 1, 3));
}

TEST(Slice, BySizeAndCrop) {
  at::Tensor x = randn({2, 5, 6}, 1);
  check(OpKind::slice_by_size,
        {{0, x}, lit(slice_by_size::begin, {0, 1, -4}), lit(slice_by_size::size, {2, 3, -1})},
        x.slice(1, 1, 4).slice(2, 2, 6));
  check(OpKind::crop, {{0, x}, lit(crop::crop_height, {1, 2}), lit(crop::crop_width, {0, 3})},
        x.slice(1, 1, 3).slice(2, 0, 3));
}

TEST(Slice, UpdateWritesTheWindow) {
  namespace s = slice_update;
  at::Tensor x = randn({4, 6}, 1), u = randn({2, 3}, 2);
  at::Tensor expected = x.clone();
  expected.slice(0, 1, 3).slice(1, 0, 6, 2).copy_(u);
  check(OpKind::slice_update,
        {{s::x, x},
         {s::update, u},
         lit(s::begin, {1, 0}),
         lit(s::end, {3, 6}),
         lit(s::stride, {1, 2})},
        expected);
  at::Tensor reversed = x.clone();
  reversed.slice(0, 2, 4).slice(1, 0, 3).copy_(u.flip(0));
  check(OpKind::slice_update,
        {{s::x, x},
         {s::update, u},
         lit(s::begin, {3, 0}),
         lit(s::end, {1, 3}),
         lit(s::stride, {-1, 1})},
        reversed);
  at::Tensor row = x.clone();
  row[2].slice(0, 3, 6).copy_(u[0]);
  check(OpKind::slice_update,
        {{s::x, x},
         {s::update, u[0].contiguous()},
         lit(s::begin, {2, 3}),
         lit(s::end, {0, 0}),
         flags(s::end_mask, {false, true}),
         flags(s::squeeze_mask, {true, false})},
        row);
}

} // namespace plait::runtime
