// merge-reductions: lets a reduction keep or drop its axes by itself, and makes one of two.
//
//   %a = reduce_mean(x = %x, axes = [2, 3], keep_dims = true)       before
//   %b = reshape(x = %a, shape = [1, 64])
//
//   %b = reduce_mean(x = %x, axes = [2, 3], keep_dims = false)      after
//
// The other way round an axis that is dropped and put back is kept. A reduction of a reduction of
// the same kind is one over the axes of both. The inner result must have no other use.
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

using Sizes = llvm::SmallVector<int64_t, 6>;

bool isReduction(const Op &op) { return op.info().infer == info(OpKind::reduce_mean).infer; }

/// Reducing twice is reducing once over the axes of both.
bool mayRepeat(OpKind kind) {
  return kind == OpKind::reduce_l2_norm || kind == OpKind::reduce_log_sum_exp ||
         kind == OpKind::reduce_max || kind == OpKind::reduce_mean || kind == OpKind::reduce_min ||
         kind == OpKind::reduce_prod || kind == OpKind::reduce_sum;
}

// All reductions have the parameters of reduce_mean.

/// The reduction that computes `value` for one use.
Op *reductionOf(Value *value) {
  Op *op = value->hasOneUse() ? value->def() : nullptr;
  return op && isReduction(*op) && staticShape((*op)[reduce_mean::x]) ? op : nullptr;
}

/// For each axis of the operand whether it is reduced.
std::optional<llvm::SmallVector<bool, 6>> reducedAxes(const Op &op) {
  auto axes = constInts(op[reduce_mean::axes]);
  llvm::SmallVector<bool, 6> reduced(op[reduce_mean::x]->type.rank(), false);
  if (!axes)
    return std::nullopt;
  for (int64_t axis : *axes)
    reduced[normalAxis(axis, reduced.size())] = true;
  return reduced;
}

Value *reduceAlong(Op &before, OpKind kind, Value *x, llvm::ArrayRef<int64_t> axes, bool keep,
                   llvm::StringRef name) {
  return Builder::before(&before).emit(
      kind, {{reduce_mean::x, x}, Arg(reduce_mean::axes, axes), {reduce_mean::keep_dims, keep}},
      name);
}

/// A reshape of a reduction that only drops its axes, or only puts them back.
bool keepOrDrop(Op &op) {
  Op *reduction = reductionOf(op[0]);
  auto reduced = reduction ? reducedAxes(*reduction) : std::nullopt;
  auto result = staticShape(op.result());
  if (!reduced || !result || result->empty())
    return false;
  Sizes x = *staticShape((*reduction)[reduce_mean::x]), axes, turned;
  bool keep = !constBool((*reduction)[reduce_mean::keep_dims]).value_or(false);
  for (auto [i, isReduced] : llvm::enumerate(*reduced)) {
    if (isReduced)
      axes.push_back(int64_t(i));
    if (!isReduced || keep)
      turned.push_back(isReduced ? 1 : x[i]);
  }
  if (axes.empty() || !llvm::equal(turned, *result))
    return false;
  replaceOp(&op,
            reduceAlong(op, reduction->kind(), (*reduction)[reduce_mean::x], axes, keep, op.name));
  return true;
}

/// A reduction of a reduction that keeps its axes or drops them as this one does.
bool joinReductions(Op &op) {
  bool repeats = mayRepeat(op.kind()) && isFloat(op.result()->type.dtype());
  Op *inner = repeats ? reductionOf(op[reduce_mean::x]) : nullptr;
  bool keep = constBool(op[reduce_mean::keep_dims]).value_or(false);
  if (!inner || !inner->is(op.kind()) ||
      constBool((*inner)[reduce_mean::keep_dims]).value_or(false) != keep)
    return false;
  auto first = reducedAxes(*inner), second = reducedAxes(op);
  if (!first || !second)
    return false;
  Sizes axes;
  size_t at = 0; // of the inner result
  for (auto [i, isReduced] : llvm::enumerate(*first)) {
    bool again = (keep || !isReduced) && (*second)[at];
    at += keep || !isReduced;
    if (isReduced || again)
      axes.push_back(int64_t(i));
  }
  replaceOp(&op, reduceAlong(op, op.kind(), (*inner)[reduce_mean::x], axes, keep, op.name));
  return true;
}

} // namespace

bool mergeReductions(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.numResults() != 1 || !op.result()->hasUses())
      return;
    if (op.is(OpKind::reshape) || op.is(OpKind::squeeze) || op.is(OpKind::expand_dims))
      changed |= keepOrDrop(op);
    else if (isReduction(op))
      changed |= joinReductions(op);
  });
  return changed;
}

} // namespace plait::passes
