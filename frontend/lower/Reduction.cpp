// Sums, means, extremes, moments and norms over axes.
//
// A rank-0 tensor is its own reduction; an empty or absent list of axes means all of them.
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"
#include "frontend/lower/Norm.h"

#include <cmath>

namespace plait::frontend {

using namespace mil;

namespace {
using Axes = llvm::SmallVector<int64_t, 6>;

/// The axes of the call (all where the schema has none) and whether they are kept.
Axes axesOf(Call &c, int64_t rank) {
  if (!c.schema().argumentIndexWithName("dim"))
    return allAxes(rank);
  return c.has("dim") ? c.axes("dim", rank) : allAxes(rank);
}
bool keepsDims(Call &c) {
  return c.schema().argumentIndexWithName("keepdim") && c.boolean("keepdim");
}

Expr reduceOrCopy(OpKind kind, const Expr &x, llvm::ArrayRef<int64_t> axes, bool keep) {
  return axes.empty() ? x : reduce(kind, x, axes, keep);
}

/// x in the dtype argument, or in `fallback`.
Tensor inDType(Call &c, Tensor x, at::ScalarType fallback) {
  return c.cast(x, c.has("dtype") ? *c.optionalDType("dtype") : fallback);
}

at::ScalarType accumulator(at::ScalarType dtype) {
  return at::isIntegralType(dtype, true) ? at::kLong : dtype;
}

template <OpKind Kind> void lowerAccumulate(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  x = inDType(c, x, accumulator(x.dtype));
  Axes axes = axesOf(c, x.rank());
  bool keep = keepsDims(c);
  if (!c.failed())
    c.result(reduceOrCopy(Kind, Expr(c, x), axes, keep), x.dtype);
}

void lowerMean(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  x = toFloat(c, inDType(c, x, x.dtype));
  Axes axes = axesOf(c, x.rank());
  bool keep = keepsDims(c);
  if (!c.failed())
    c.result(reduceOrCopy(OpKind::reduce_mean, Expr(c, x), axes, keep), x.dtype);
}

/// Sums and means that skip NaN.
template <bool Mean> void lowerNanSum(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  x = inDType(c, x, Mean ? x.dtype : accumulator(x.dtype));
  Axes axes = axesOf(c, x.rank());
  bool keep = keepsDims(c);
  if (c.failed())
    return;
  Expr e(c, x);
  Expr valid = equal(e, e);
  Expr sum = reduceOrCopy(OpKind::reduce_sum, select(valid, e, 0), axes, keep);
  if (Mean)
    sum = sum / reduceOrCopy(OpKind::reduce_sum, castTo(valid, DType::F32), axes, keep);
  c.result(sum, x.dtype);
}

/// Extremes of bools are computed in int32.
Expr extreme(const Expr &x, OpKind kind, llvm::ArrayRef<int64_t> axes, bool keep) {
  if (axes.empty() || !x.valid())
    return x;
  if (x.dtype() == DType::Bool)
    return castTo(reduce(kind, castTo(x, DType::I32), axes, keep), DType::Bool);
  return reduce(kind, x, axes, keep);
}

template <OpKind Kind> void lowerExtreme(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  Axes axes = axesOf(c, x.rank());
  bool keep = keepsDims(c);
  if (!c.failed())
    c.result(extreme(Expr(c, x), Kind, axes, keep), x.dtype);
}

void lowerAminmax(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  Axes axes = c.has("dim") && x.rank() ? Axes{c.axis("dim", x.rank())} : allAxes(x.rank());
  bool keep = c.boolean("keepdim");
  if (c.failed())
    return;
  c.result(extreme(Expr(c, x), OpKind::reduce_min, axes, keep), x.dtype);
  c.result(extreme(Expr(c, x), OpKind::reduce_max, axes, keep), x.dtype);
}

Expr argExtreme(Expr x, OpKind kind, int64_t axis, bool keep) {
  static_assert(unsigned(reduce_argmax::axis) == unsigned(reduce_argmin::axis) &&
                unsigned(reduce_argmax::output_dtype) == unsigned(reduce_argmin::output_dtype));
  if (x.valid() && x.dtype() == DType::Bool)
    x = castTo(x, DType::I32);
  return Expr(x.call(), x.call().emit(kind, {{reduce_argmax::x, x.value()},
                                             {reduce_argmax::axis, axis},
                                             {reduce_argmax::keep_dims, keep},
                                             {reduce_argmax::output_dtype, "int32"}}));
}

/// max.dim and min.dim: values and their positions.
template <OpKind Kind, OpKind ArgKind> void lowerExtremeWithIndex(Call &c) {
  Tensor x = c.tensor("self");
  int64_t axis = c.failed() ? 0 : c.axis("dim", std::max<int64_t>(x.rank(), 1));
  bool keep = c.boolean("keepdim");
  if (c.failed())
    return;
  if (x.rank() == 0) {
    c.result(x);
    return c.result(c.full({}, DType::I32, 0), at::kLong);
  }
  Expr e(c, x);
  c.result(extreme(e, Kind, axis, keep), x.dtype);
  if (c.isUsed(1))
    c.result(argExtreme(e, ArgKind, axis, keep), at::kLong);
  else
    c.result(Val());
}

template <OpKind Kind> void lowerArgExtreme(Call &c) {
  Tensor x = c.tensor("self");
  bool keep = c.boolean("keepdim");
  if (c.failed())
    return;
  if (x.rank() == 0)
    return c.result(c.full({}, DType::I32, 0), at::kLong);
  if (c.has("dim"))
    return c.result(argExtreme(Expr(c, x), Kind, c.axis("dim", x.rank()), keep), at::kLong);
  Value *flat = x.rank() == 1 ? x.value : c.reshape(x.value, {numElements(x.shape())});
  Expr index = argExtreme(Expr(c, flat), Kind, 0, false);
  c.result(keep ? c.reshape(index, Shape(x.rank(), 1)) : index.value(), at::kLong);
}

/// all and any: extremes of 0 and 1. A uint8 tensor gives uint8.
template <OpKind Kind> void lowerQuantifier(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  at::ScalarType dtype = x.dtype == at::kByte ? at::kByte : at::kBool;
  // An empty list of axes reduces nothing here, unlike in a sum.
  auto given = c.schema().overload_name() == "dims" ? c.val("dim").list() : nullptr;
  if (given && given->values.empty())
    return c.result(c.cast(c.cast(x, at::kBool), dtype));
  Axes axes = axesOf(c, x.rank());
  bool keep = keepsDims(c);
  x = c.cast(x, at::kBool);
  if (!c.failed())
    c.result(c.cast(Tensor{extreme(Expr(c, x), Kind, axes, keep), at::kBool}, dtype));
}

void lowerCountNonzero(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  Axes axes = axesOf(c, x.rank());
  Expr ones = castTo(Expr(c, c.cast(x, at::kBool)), DType::I32);
  if (!c.failed())
    c.result(reduceOrCopy(OpKind::reduce_sum, ones, axes, false), at::kLong);
}

/// Variance with `correction` subtracted from the count, and the mean.
template <bool Root, bool WithMean> void lowerVariance(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  x = toFloat(c, x);
  Axes axes = axesOf(c, x.rank());
  bool keep = keepsDims(c);
  double correction = 1;
  if (c.schema().argumentIndexWithName("unbiased"))
    correction = c.boolean("unbiased");
  else if (auto given = c.optionalNumber("correction"))
    correction = *given;
  if (c.failed())
    return;
  if (axes.empty())
    return c.refuse(Code::OperandMismatch, "a tensor of rank 0 has no variance");
  Expr e(c, x);
  Moments m = moments(e, axes);
  Expr variance = m.variance;
  Dim count = sizeOfAxes(x.shape(), axes);
  bool isNorm = Root && count.isConst() && double(count.value()) > correction;
  if (isNorm) // of small parts, so that neither the squares nor their sum exceed what is asked for
    variance =
        reduce(OpKind::reduce_l2_norm,
               (e - m.mean) * (1 / std::sqrt(double(count.value()) - correction)), axes, true);
  else if (correction != 0) {
    if (auto n = count.tryValue())
      variance = variance * (double(*n) / std::max(double(*n) - correction, 0.0));
    else {
      Expr elements = castTo(sizeOf(c, count), DType::F32);
      variance = variance * (elements / maximum(elements - correction, 0.0));
    }
  }
  if (Root && !isNorm)
    variance = squareRoot(variance);
  auto finish = [&](Expr v) { return keep ? v : squeeze(v, axes); };
  c.result(finish(variance), x.dtype);
  if (WithMean)
    c.result(finish(m.mean), x.dtype);
}

/// norm, linalg_vector_norm, frobenius_norm: `name` is the argument that holds the order.
void giveVectorNorm(Call &c, llvm::StringRef name) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  x = toFloat(c, inDType(c, x, x.dtype));
  double p = name.empty() ? 2 : c.optionalNumber(name).value_or(2);
  Axes axes = axesOf(c, x.rank());
  bool keep = keepsDims(c);
  if (c.failed())
    return;
  c.result(vectorNorm(Expr(c, x), p, axes, keep, x.dtype), x.dtype);
}
void lowerNorm(Call &c) { giveVectorNorm(c, "p"); }
void lowerVectorNorm(Call &c) { giveVectorNorm(c, "ord"); }
void lowerFrobeniusNorm(Call &c) { giveVectorNorm(c, ""); }

/// Norms of matrices that need no singular values: Frobenius, and the largest or smallest absolute
/// column (1) or row (inf) sum.
void lowerMatrixNorm(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  x = toFloat(c, inDType(c, x, x.dtype));
  bool named = c.val("ord").known() && c.val("ord").known()->isString();
  bool keep = c.boolean("keepdim");
  bool ofVector =
      !named && (!c.has("ord") || (c.has("dim") ? c.integers("dim").size() == 1 : x.rank() == 1));
  if (ofVector && llvm::StringRef(c.name()).starts_with("aten::linalg_norm"))
    return giveVectorNorm(c, "ord");
  if (x.rank() < 2)
    return c.refuse(Code::OperandMismatch, "a matrix norm of a tensor of rank {0}", x.rank());
  Axes axes = c.has("dim") ? orderedAxes(c, "dim", x.rank()) : Axes{x.rank() - 2, x.rank() - 1};
  if (c.failed() || axes.size() != 2)
    return c.refuse(Code::OperandMismatch, "a matrix norm needs two axes");
  Expr e(c, x);
  if (named) {
    if (c.string("ord") != "fro")
      return c.refuse(Code::UnsupportedForm,
                      "the '{0}' norm needs singular values, which Core ML cannot compute",
                      c.string("ord"));
    return c.result(vectorNorm(e, 2, axes, keep, x.dtype), x.dtype);
  }
  double p = c.number("ord");
  if (std::abs(p) == 2)
    return c.refuse(Code::UnsupportedForm,
                    "the matrix norm of order {0:.2f} needs singular values, which Core ML cannot "
                    "compute; 'fro', 1 and inf can be",
                    p);
  if (std::abs(p) != 1 && !std::isinf(p))
    return c.refuse(Code::UnsupportedForm, "no matrix norm of order {0:.2f}", p);
  int64_t summed = std::isinf(p) ? axes[1] : axes[0], other = std::isinf(p) ? axes[0] : axes[1];
  Expr sums = reduce(OpKind::reduce_l1_norm, e, summed, true);
  Expr y = reduce(p > 0 ? OpKind::reduce_max : OpKind::reduce_min, sums, other, true);
  c.result(keep ? y : squeeze(y, axes), x.dtype);
}

void lowerLogSumExp(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  x = toFloat(c, x);
  Axes axes = axesOf(c, x.rank());
  bool keep = keepsDims(c);
  if (!c.failed())
    c.result(reduceOrCopy(OpKind::reduce_log_sum_exp, Expr(c, x), axes, keep), x.dtype);
}
} // namespace

void registerReduction(Table &table) {
  table.add({"aten::sum", "aten::sum.dim_IntList"}, lowerAccumulate<OpKind::reduce_sum>);
  table.add({"aten::prod", "aten::prod.dim_int"}, lowerAccumulate<OpKind::reduce_prod>);
  table.add({"aten::mean", "aten::mean.dim"}, lowerMean);
  table.add({"aten::nansum"}, lowerNanSum<false>);
  table.add({"aten::nanmean"}, lowerNanSum<true>);
  table.add({"aten::amax", "aten::max"}, lowerExtreme<OpKind::reduce_max>);
  table.add({"aten::amin", "aten::min"}, lowerExtreme<OpKind::reduce_min>);
  table.add({"aten::aminmax"}, lowerAminmax);
  table.add({"aten::max.dim"}, lowerExtremeWithIndex<OpKind::reduce_max, OpKind::reduce_argmax>);
  table.add({"aten::min.dim"}, lowerExtremeWithIndex<OpKind::reduce_min, OpKind::reduce_argmin>);
  table.add({"aten::argmax"}, lowerArgExtreme<OpKind::reduce_argmax>);
  table.add({"aten::argmin"}, lowerArgExtreme<OpKind::reduce_argmin>);
  table.add({"aten::all", "aten::all.dim", "aten::all.dims"}, lowerQuantifier<OpKind::reduce_min>);
  table.add({"aten::any", "aten::any.dim", "aten::any.dims"}, lowerQuantifier<OpKind::reduce_max>);
  table.add({"aten::count_nonzero", "aten::count_nonzero.dim_IntList"}, lowerCountNonzero);
  table.add({"aten::var", "aten::var.dim", "aten::var.correction"}, lowerVariance<false, false>);
  table.add({"aten::std", "aten::std.dim", "aten::std.correction"}, lowerVariance<true, false>);
  table.add({"aten::var_mean", "aten::var_mean.dim", "aten::var_mean.correction"},
            lowerVariance<false, true>);
  table.add({"aten::std_mean", "aten::std_mean.dim", "aten::std_mean.correction"},
            lowerVariance<true, true>);
  table.add({"aten::norm.Scalar", "aten::norm.ScalarOpt_dim", "aten::norm.ScalarOpt_dim_dtype",
             "aten::norm.ScalarOpt_dtype"},
            lowerNorm);
  table.add({"aten::linalg_vector_norm"}, lowerVectorNorm);
  table.add({"aten::frobenius_norm.dim"}, lowerFrobeniusNorm);
  table.add({"aten::linalg_norm", "aten::linalg_norm.ord_str", "aten::linalg_matrix_norm",
             "aten::linalg_matrix_norm.str_ord"},
            lowerMatrixNorm);
  table.add({"aten::logsumexp"}, lowerLogSumExp);
  // Into a narrow type that is asked for.
  table.setLeavesRange({"aten::sum", "aten::sum.dim_IntList", "aten::prod", "aten::prod.dim_int"});
}

} // namespace plait::frontend
