// torchvision's operators on boxes. Those on feature maps are decompositions (vision.py).
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"

namespace plait::frontend {

using namespace mil;

namespace {

/// nms: Core ML's takes boxes by their centres and sizes, gives the best first, and fills up with
/// -1. How many there are depends on the data.
void lowerNms(Call &c) {
  Tensor boxes = c.tensor("dets"), scores = c.tensor("scores");
  double threshold = c.number("iou_threshold");
  if (c.failed())
    return;
  if (boxes.rank() != 2 || scores.rank() != 1)
    return c.refuse(Code::OperandMismatch,
                    "boxes of {0} and scores of {1} dimensions; 2 and 1 are needed", boxes.rank(),
                    scores.rank());
  int64_t most = boxes.shape()[0].upper();
  if (most > (int64_t(1) << 24))
    return c.refuse(Code::UnsupportedForm,
                    "the number of boxes has no bound that is known; give it a range");
  Expr corners = castTo(Expr(c, boxes), DType::F32);
  auto side = [&](int64_t first) { return slice(corners, 1, first, first + 2); };
  Expr size = side(2) - side(0), centre = side(0) + size * 0.5;
  Expr all = concat(c, {centre.value(), size.value()}, 1);
  // [1, 4, n] and [1, 1, n].
  Expr given = expandDims(Expr(c, c.permute(all, {1, 0})), {0});
  Expr ranked = expandDims(castTo(Expr(c, scores), DType::F32), {0, 1});
  if (!given.valid() || !ranked.valid())
    return;
  namespace op = non_maximum_suppression;
  Op *nms = c.create(OpKind::non_maximum_suppression,
                     {{op::boxes, given.value()},
                      {op::scores, ranked.value()},
                      {op::iou_threshold, c.builder().scalar(DType::F32, threshold)},
                      {op::max_boxes, most},
                      {op::per_class_suppression, false}});
  if (!nms)
    return;
  Expr indices = squeeze(Expr(c, nms->result(2)), {0});
  Expr isKept = castTo(binary(OpKind::greater_equal, indices, 0), DType::I32);
  Expr count = reduce(OpKind::reduce_sum, isKept, {0}, false);
  if (!count.valid())
    return;
  Engine &engine = c.engine();
  auto kept = engine.dimOf(engine.makeTensor(count.value(), at::kLong), most);
  c.result(slice(indices, 0, 0, *kept), at::kLong);
}

} // namespace

void registerDetection(Table &table) { table.add({"torchvision::nms"}, lowerNms); }

} // namespace plait::frontend
