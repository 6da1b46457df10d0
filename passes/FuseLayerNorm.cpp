// fuse-layer-norm: finds layer_norm in its pieces.
//
//   %m = reduce_mean(x = %x, axes = [-1], keep_dims = true)        before
//   %d = sub(x = %x, y = %m)
//   %q = square(x = %d)
//   %v = reduce_mean(x = %q, axes = [-1], keep_dims = true)
//   %e = add(x = %v, y = 1e-5)
//   %r = rsqrt(x = %e)
//   %n = mul(x = %d, y = %r)
//   %s = mul(x = %n, y = const gamma)
//   %y = add(x = %s, y = const beta)
//
//   %y = layer_norm(x = %x, axes = [2], gamma, beta, epsilon = 1e-5)  after
//
// Over the last axes only. The square may be pow or a product, the root rsqrt or a division by sqrt
// or pow(0.5). Root mean square norms have no such operation and stay as they are.
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// reduce_mean(source) over the last axes, kept; the number of axes.
std::optional<unsigned> meanOverLast(const Value *mean, const Value *source) {
  Op *op = definedBy(mean, OpKind::reduce_mean);
  if (!op || (*op)[reduce_mean::x] != source || !constBool((*op)[reduce_mean::keep_dims]))
    return std::nullopt;
  auto axes = constInts((*op)[reduce_mean::axes]);
  if (!axes || axes->empty() || !*constBool((*op)[reduce_mean::keep_dims]))
    return std::nullopt;
  unsigned rank = source->type.rank();
  for (int64_t &axis : *axes)
    axis = normalAxis(axis, rank);
  llvm::sort(*axes);
  for (unsigned i = 0; i < axes->size(); ++i)
    if ((*axes)[i] != int64_t(rank - axes->size() + i))
      return std::nullopt;
  return axes->size();
}

struct Norm {
  Value *x;
  unsigned axes;
  double epsilon;
};

/// d / sqrt(mean(d^2) + epsilon) with d = x - mean(x).
std::optional<Norm> matchNorm(Value *result) {
  // Slots: 0 the difference, 1 the mean of squares, 2 epsilon.
  auto withEpsilon = commutative(OpKind::add, value(1), anySplat(2));
  auto root =
      either(unary(OpKind::sqrt, withEpsilon), binary(OpKind::pow, withEpsilon, splat(0.5)));
  auto inverseRoot =
      either(unary(OpKind::rsqrt, withEpsilon), binary(OpKind::pow, withEpsilon, splat(-0.5)));
  Captures c{};
  if (!match(result,
             either(commutative(OpKind::mul, value(0), inverseRoot),
                    binary(OpKind::real_div, value(0), root)),
             c))
    return std::nullopt;
  Op *difference = definedBy(c[0], OpKind::sub);
  Op *variance = definedBy(c[1], OpKind::reduce_mean);
  if (!difference || !variance)
    return std::nullopt;
  Value *x = (*difference)[sub::x];
  Captures squares{};
  squares[0] = c[0];
  auto d = value(0);
  if (!match((*variance)[reduce_mean::x],
             either(unary(OpKind::square, d),
                    either(binary(OpKind::mul, d, d), binary(OpKind::pow, d, splat(2)))),
             squares))
    return std::nullopt;
  auto axes = meanOverLast((*difference)[sub::y], x);
  if (!axes || axes != meanOverLast(c[1], (*variance)[reduce_mean::x]))
    return std::nullopt;
  return Norm{x, *axes, *splatValue(c[2])};
}

/// A constant of exactly the normalised shape once leading ones are dropped.
std::optional<TensorData> perElement(const Value *constant, const Value *x, unsigned axes) {
  const TensorData *tensor = constTensor(constant);
  auto shape = constShape(x->type.shape().take_back(axes));
  if (!tensor || !shape || tensor->rank() > x->type.rank() || tensor->rank() < axes ||
      tensor->numElements() != numElements(llvm::ArrayRef<int64_t>(*shape)) ||
      tensor->shape().take_back(axes) != llvm::ArrayRef<int64_t>(*shape))
    return std::nullopt;
  return tensor->reshape(*shape);
}

/// layer_norm(x) * gamma or layer_norm(x) + beta, taken into the operation.
bool takeParameter(Op &op) {
  for (unsigned side : {0, 1}) {
    Op *norm = definedBy(op[side], OpKind::layer_norm);
    if (!norm || !norm->result()->hasOneUse())
      continue;
    auto axes = constInts((*norm)[layer_norm::axes]);
    bool isGamma = op.is(OpKind::mul);
    if (!axes || (*norm)[layer_norm::beta] || isGamma == ((*norm)[layer_norm::gamma] != nullptr))
      continue;
    auto parameter = perElement(op[1 - side], (*norm)[layer_norm::x], axes->size());
    if (!parameter || !(norm->result()->type == op.result()->type))
      continue;
    norm->set(isGamma ? layer_norm::gamma : layer_norm::beta,
              derivedConstant(norm, *parameter, op[1 - side]));
    replaceOp(&op, norm->result());
    return true;
  }
  return false;
}

} // namespace

bool fuseLayerNorm(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (!op.is(OpKind::mul) && !op.is(OpKind::real_div) && !op.is(OpKind::add))
      return;
    if (!op.is(OpKind::real_div) && takeParameter(op)) {
      changed = true;
      return;
    }
    auto norm = op.is(OpKind::add) ? std::nullopt : matchNorm(op.result());
    if (!norm || !op.result()->hasUses() || !(norm->x->type == op.result()->type))
      return;
    llvm::SmallVector<int64_t, 4> axes;
    for (unsigned i = 0; i < norm->axes; ++i)
      axes.push_back(norm->x->type.rank() - norm->axes + i);
    replaceOp(&op, Builder::before(&op).emit(OpKind::layer_norm,
                                             {{layer_norm::x, norm->x},
                                              {layer_norm::axes, llvm::ArrayRef<int64_t>(axes)},
                                              {layer_norm::epsilon, norm->epsilon}}));
    changed = true;
  });
  return changed;
}

} // namespace plait::passes
