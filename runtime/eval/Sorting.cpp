// topk, argsort, non_zero and non_maximum_suppression. Equal elements keep their order: the one
// with the lower index comes first, whichever way is sorted.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

Results evalArgsort(EvalContext &c) {
  at::Tensor x = c.value(argsort::x);
  return at::argsort(x, /*stable=*/true, c.axis(argsort::axis, x.dim(), -1),
                     /*descending=*/!c.boolean(argsort::ascending, false));
}

Results evalTopk(EvalContext &c) {
  at::Tensor x = c.raw(topk::x);
  int64_t axis = c.axis(topk::axis, x.dim(), -1), k = c.integer(topk::k, 1);
  if (k == -1)
    k = x.size(axis);
  TORCH_CHECK(k >= 0 && k <= x.size(axis), "k is ", k, " where the axis has ", x.size(axis),
              " elements");
  auto [values, indices] =
      at::sort(x, /*stable=*/true, axis, /*descending=*/!c.boolean(topk::ascending, false));
  values = values.slice(axis, 0, k);
  if (c.op().numResults() == 1)
    return values;
  return Results::of({values, indices.slice(axis, 0, k)});
}

Results evalNonZero(EvalContext &c) { return at::nonzero(c.raw(non_zero::x)); }

/// Intersection over union of two boxes (centre x, centre y, width, height).
double overlap(at::TensorAccessor<double, 1> a, at::TensorAccessor<double, 1> b) {
  auto shared = [&](int axis) {
    double low = std::max(a[axis] - a[axis + 2] / 2, b[axis] - b[axis + 2] / 2);
    double high = std::min(a[axis] + a[axis + 2] / 2, b[axis] + b[axis + 2] / 2);
    return std::max(0.0, high - low);
  };
  double both = shared(0) * shared(1);
  double either = a[2] * a[3] + b[2] * b[3] - both;
  return either > 0 ? both / either : 0;
}

/// Boxes in descending order of their best class, each kept unless a kept one (of its class, with
/// per_class_suppression) overlaps it by more than the threshold. Unused places hold zeros, and -1
/// as index. The form of iOS15 and iOS16 rejects boxes below a score first, has coordinates last
/// and counts what it kept.
Results evalNonMaximumSuppression(EvalContext &c) {
  namespace nms = non_maximum_suppression;
  bool older = c.has(nms::score_threshold);
  at::Tensor boxes = c.raw(nms::boxes), scores = c.raw(nms::scores); // [n, B, 4] and [n, B, K]
  if (!older) {
    boxes = boxes.transpose(1, 2);
    scores = scores.transpose(1, 2);
  }
  double least = older ? c.number(nms::score_threshold) : 0;
  int64_t batches = boxes.size(0), limit = c.integer(nms::max_boxes);
  double threshold = c.number(nms::iou_threshold);
  bool perClass = c.boolean(nms::per_class_suppression);
  at::Tensor kept = at::zeros({batches, limit, 4}, boxes.options());
  at::Tensor keptScores = at::zeros({batches, limit, scores.size(2)}, scores.options());
  at::Tensor indices = at::full({batches, limit}, -1, at::kInt);
  at::Tensor counts = at::zeros({batches}, at::kInt);
  for (int64_t n = 0; n < batches; ++n) {
    at::Tensor coordinates = boxes[n].to(at::kDouble).contiguous();
    auto box = coordinates.accessor<double, 2>();
    auto [best, classes] = scores[n].to(at::kDouble).max(1);
    at::Tensor order = at::argsort(best, /*stable=*/true, 0, /*descending=*/true);
    std::vector<int64_t> chosen;
    for (int64_t i = 0; i < order.numel() && int64_t(chosen.size()) < limit; ++i) {
      int64_t candidate = order[i].item<int64_t>();
      if (older && best[candidate].item<double>() < least)
        break;
      bool suppressed = llvm::any_of(chosen, [&](int64_t other) {
        return (!perClass ||
                classes[other].item<int64_t>() == classes[candidate].item<int64_t>()) &&
               overlap(box[other], box[candidate]) > threshold;
      });
      if (suppressed)
        continue;
      int64_t place = int64_t(chosen.size());
      kept[n][place].copy_(boxes[n][candidate]);
      keptScores[n][place].copy_(scores[n][candidate]);
      indices[n][place].fill_(candidate);
      chosen.push_back(candidate);
    }
    counts[n].fill_(int64_t(chosen.size()));
  }
  if (older)
    return Results::of({kept, keptScores, indices, counts});
  return Results::of({kept.transpose(1, 2), keptScores.transpose(1, 2), indices});
}

} // namespace

void registerSorting(Registry &r) {
  r.add(OpKind::argsort, evalArgsort);
  r.add(OpKind::non_maximum_suppression, evalNonMaximumSuppression);
  r.add(OpKind::non_zero, evalNonZero);
  r.add(OpKind::topk, evalTopk);
}

} // namespace plait::runtime
