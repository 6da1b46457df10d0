// Distances, similarities and losses: formulas over other operations.
#include "frontend/lower/Contract.h"
#include "frontend/lower/Families.h"
#include "frontend/lower/Norm.h"

namespace plait::frontend {

using namespace mil;

namespace {
/// Two operands of one float type, and the axis argument of their broadcast.
struct Pair {
  Pair(Call &c, llvm::StringRef first, llvm::StringRef second)
      : dtype(c.promote({first, second})), x(c, c.operand(first, dtype)),
        y(c, c.operand(second, dtype)) {}
  at::ScalarType dtype;
  Expr x, y;
};

void lowerCosineSimilarity(Call &c) {
  Pair in(c, "x1", "x2");
  double epsilon = c.number("eps");
  if (c.failed())
    return;
  Expr product = in.x * in.y;
  if (!product.valid())
    return;
  int64_t axis = c.axis("dim", product.rank());
  if (c.failed())
    return;
  // Each operand is divided by its norm before the product, which else may be far larger than the
  // result. Norms are those of the broadcast operands: only the axis itself matters for that.
  auto unit = [&](const Expr &e) {
    int64_t own = axis - (product.rank() - e.rank());
    bool broadcasts = own < 0 || !(e.shape()[own] == product.shape()[axis]);
    Expr whole = broadcasts ? Expr(c, c.broadcastTo(e, product.shape())) : e;
    return whole /
           maximum(reduce(OpKind::reduce_l2_norm, whole, broadcasts ? axis : own, true), epsilon);
  };
  c.result(reduce(OpKind::reduce_sum, unit(in.x) * unit(in.y), axis, false), in.dtype);
}

void lowerPairwiseDistance(Call &c) {
  Pair in(c, "x1", "x2");
  double p = c.number("p"), epsilon = c.number("eps");
  bool keep = c.boolean("keepdim");
  if (c.failed())
    return;
  // Integers are subtracted as such.
  at::ScalarType dtype =
      at::isFloatingType(in.dtype) ? in.dtype : at::typeMetaToScalarType(at::get_default_dtype());
  Expr difference = castTo(in.x - in.y, DType::F32) + epsilon;
  if (!difference.valid())
    return;
  llvm::SmallVector<int64_t, 1> last; // none of numbers
  if (difference.rank() > 0)
    last.push_back(difference.rank() - 1);
  c.result(vectorNorm(difference, p, last, keep, dtype), dtype);
}

/// All distances between rows: differences of [.., P, 1, M] and [.., 1, R, M].
void lowerCdist(Call &c) {
  Pair in(c, "x1", "x2");
  double p = c.number("p");
  if (c.failed())
    return;
  Expr difference = expandDims(in.x, {in.x.rank() - 1}) - expandDims(in.y, {in.y.rank() - 2});
  if (difference.valid())
    c.result(vectorNorm(difference, p, difference.rank() - 1, false, in.dtype, LoneElement::Raised),
             in.dtype);
}

/// Applies the `reduction` argument: 0 none, 1 mean, 2 sum.
void giveLoss(Call &c, const Expr &loss, at::ScalarType dtype) {
  int64_t reduction = c.integer("reduction");
  if (c.failed() || !loss.valid())
    return;
  if (reduction == 0 || loss.rank() == 0)
    return c.result(loss, dtype);
  c.result(reduce(reduction == 1 ? OpKind::reduce_mean : OpKind::reduce_sum, loss,
                  allAxes(loss.rank()), false),
           dtype);
}

void lowerMseLoss(Call &c) {
  Pair in(c, "self", "target");
  if (!c.failed())
    giveLoss(c, unary(OpKind::square, in.x - in.y), in.dtype);
}

void lowerL1Loss(Call &c) {
  Pair in(c, "self", "target");
  if (!c.failed())
    giveLoss(c, absolute(in.x - in.y), in.dtype);
}

/// Quadratic within `width`, linear beyond: smooth_l1 divides by it, huber does not.
template <bool Huber> void lowerSmoothLoss(Call &c) {
  Pair in(c, "self", "target");
  double width = c.number(Huber ? "delta" : "beta");
  if (c.failed())
    return;
  Expr distance = absolute(in.x - in.y);
  if (width == 0)
    return giveLoss(c, distance, in.dtype);
  // min(d, w) * (d - min(d, w) / 2), which is d^2 / 2 within w and w (d - w / 2) beyond.
  Expr inner = minimum(distance, width);
  Expr loss = inner * (distance - inner * 0.5);
  giveLoss(c, Huber ? loss : loss / width, in.dtype);
}

void lowerBinaryCrossEntropy(Call &c) {
  Pair in(c, "self", "target");
  Tensor weight = c.optionalTensor("weight");
  if (c.failed())
    return;
  // Logarithms are bounded from below as PyTorch bounds them.
  Expr yes = maximum(logarithm(in.x), -100.0), no = maximum(logarithm(1.0 - in.x), -100.0);
  Expr loss = -(in.y * yes + (1.0 - in.y) * no);
  giveLoss(c, weight ? loss * Expr(c, weight) : loss, in.dtype);
}

void lowerBinaryCrossEntropyWithLogits(Call &c) {
  Pair in(c, "self", "target");
  Tensor weight = c.optionalTensor("weight"), positive = c.optionalTensor("pos_weight");
  if (c.failed())
    return;
  // -log(sigmoid(x)) = softplus(-x), and -log(1 - sigmoid(x)) = softplus(x).
  Expr missed = unary(OpKind::softplus, -in.x);
  Expr hit = in.y * missed;
  if (positive)
    hit = hit * Expr(c, positive);
  Expr loss = hit + (1.0 - in.y) * (missed + in.x);
  giveLoss(c, weight ? loss * Expr(c, weight) : loss, in.dtype);
}
} // namespace

void registerDistance(Table &table) {
  table.add({"aten::cosine_similarity"}, lowerCosineSimilarity);
  table.add({"aten::pairwise_distance"}, lowerPairwiseDistance);
  table.add({"aten::cdist"}, lowerCdist);
  table.add({"aten::mse_loss"}, lowerMseLoss);
  table.add({"aten::l1_loss"}, lowerL1Loss);
  table.add({"aten::smooth_l1_loss"}, lowerSmoothLoss<false>);
  table.add({"aten::huber_loss"}, lowerSmoothLoss<true>);
  table.add({"aten::binary_cross_entropy"}, lowerBinaryCrossEntropy);
  table.add({"aten::binary_cross_entropy_with_logits"}, lowerBinaryCrossEntropyWithLogits);
}

} // namespace plait::frontend
