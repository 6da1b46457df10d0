// Arithmetic on MIL values, shared by the families of lowerings.
#include "frontend/lower/Expr.h"

#include "mil/Infer.h"

#include <cfloat>
#include <cmath>
#include <numbers>
#include <numeric>

namespace plait::frontend {

using namespace mil;

Expr unary(OpKind kind, const Expr &x) {
  return Expr(x.call(), x.call().emit(kind, {{0u, x.value()}}));
}

static Arg argOf(unsigned param, const Term &term) {
  return term.value ? Arg(param, term.value) : Arg(param, term.number);
}

Expr binary(OpKind kind, const Term &x, const Term &y) {
  Call *c = x.call ? x.call : y.call;
  assert(c && "an operation on numbers alone");
  return Expr(*c, c->emit(kind, {argOf(0, x), argOf(1, y)}));
}

Expr logarithm(const Expr &x) {
  return Expr(x.call(), x.call().emit(OpKind::log, {{log::x, x.value()}, {log::epsilon, 0.0}}));
}

Expr truncate(const Expr &x) {
  if (!x.valid() || x.dtype() != DType::F32)
    return x;
  return signOf(x) * floorOf(absolute(x));
}

Expr signBit(const Expr &x) {
  if (!x.valid() || x.dtype() != DType::F32)
    return less(x, 0);
  // 1 / -0 is minus infinity.
  return less(x + 1.0 / x, 0.0);
}

Expr logAddExp(const Expr &x, const Expr &y, bool base2) {
  Call &c = x.call();
  double unit = base2 ? std::numbers::ln2 : 1;
  // Equal infinities have no difference; bounded ones have.
  auto bounded = [](const Expr &e) { return clamp(e, -FLT_MAX, FLT_MAX); };
  Expr ratio = exponential(absolute(bounded(x) - bounded(y)) * -unit);
  Expr rest(c, c.emit(OpKind::log, {{log::x, ratio.value()}, {log::epsilon, 1.0}}));
  return maximum(x, y) + (base2 ? rest / unit : rest);
}

Expr castTo(const Expr &x, DType dtype) { return Expr(x.call(), x.call().castTo(x, dtype)); }

Expr clamp(const Expr &x, double low, double high) {
  return Expr(
      x.call(),
      x.call().emit(OpKind::clip, {{clip::x, x.value()}, {clip::alpha, low}, {clip::beta, high}}));
}

Expr select(const Expr &cond, const Term &a, const Term &b) {
  Call &c = cond.call();
  if (!cond.valid() || (a.value && !a.value->type.isTensor()) ||
      (b.value && !b.value->type.isTensor()))
    return Expr(c, c.builder().poison());
  assert((a.value || b.value) && "a choice between two numbers has no element type");
  DType dtype = (a.value ? a.value : b.value)->type.dtype();
  llvm::SmallVector<llvm::ArrayRef<Dim>, 3> shapes = {cond.shape()};
  for (const Term *term : {&a, &b})
    if (term->value)
      shapes.push_back(term->value->type.shape());
  auto shape = broadcastShapes(c, shapes);
  if (!shape)
    return Expr(c, c.builder().poison());
  // A number becomes a whole tensor: made while running, unless it is small, so that it takes no
  // room in the file.
  auto filled = [&](double number) {
    auto elements = numElements(*shape).tryValue();
    if (!elements || *elements <= 16)
      return c.full(*shape, dtype, number);
    return c.emit(OpKind::fill, {{fill::shape, c.materialise(*shape)},
                                 {fill::value, c.builder().scalar(dtype, number)}});
  };
  auto side = [&](const Term &term) {
    return term.value ? c.broadcastTo(term.value, *shape) : filled(term.number);
  };
  return Expr(c, c.emit(OpKind::select, {{select::cond, c.broadcastTo(cond, *shape)},
                                         {select::a, side(a)},
                                         {select::b, side(b)}}));
}

Expr floorDivide(const Expr &x, const Expr &y) { return binary(OpKind::floor_div, x, y); }

Expr flooredQuotient(const Expr &x, const Expr &y) {
  if (!x.valid() || !y.valid() || x.dtype() != DType::F32)
    return floorDivide(x, y);
  bool isPlain = false; // neither 0 nor infinite
  if (const TensorData *tensor = constTensor(y); tensor && tensor->numElements() <= 4096) {
    auto values = tensor->floatValues();
    if (!values)
      llvm::consumeError(values.takeError());
    else
      isPlain = llvm::all_of(*values, [](double v) { return v != 0 && std::isfinite(v); });
  }
  // What the remainder leaves is a multiple of y but for rounding. A bounded divisor gives -1 and 0
  // where an infinite one does.
  Expr divisor = isPlain ? y : clamp(y, -FLT_MAX, FLT_MAX);
  Expr quotient = unary(OpKind::round, (x - remainderOf(x, divisor)) / divisor);
  return isPlain ? quotient : select(equal(y, 0.0), x / y, quotient);
}

Expr truncateDivide(const Expr &x, const Expr &y) {
  if (!x.valid() || !y.valid())
    return x;
  if (x.dtype() == DType::F32)
    return truncate(x / y);
  // |x| and |y| divide exactly as truncation wants; the sign goes on afterwards.
  return signOf(x) * signOf(y) * floorDivide(absolute(x), absolute(y));
}

Expr remainderOf(const Expr &x, const Expr &y) { return binary(OpKind::mod, x, y); }

Expr fmodOf(const Expr &x, const Expr &y) {
  return signOf(x) * remainderOf(absolute(x), absolute(y));
}

Expr reduce(OpKind kind, const Expr &x, llvm::ArrayRef<int64_t> axes, bool keepDims) {
  // All reductions that this is used for have their parameters in this order.
  static_assert(unsigned(reduce_sum::axes) == unsigned(reduce_l2_norm::axes) &&
                unsigned(reduce_sum::keep_dims) == unsigned(reduce_log_sum_exp::keep_dims));
  return Expr(x.call(), x.call().emit(kind, {{reduce_sum::x, x.value()},
                                             {reduce_sum::axes, axes},
                                             {reduce_sum::keep_dims, keepDims}}));
}

Expr matmul(const Expr &x, const Expr &y, bool transposeX, bool transposeY) {
  return Expr(x.call(), x.call().emit(OpKind::matmul, {{matmul::x, x.value()},
                                                       {matmul::y, y.value()},
                                                       {matmul::transpose_x, transposeX},
                                                       {matmul::transpose_y, transposeY}}));
}

Expr concat(Call &c, llvm::ArrayRef<Value *> values, int64_t axis) {
  if (values.size() == 1)
    return Expr(c, values[0]);
  return Expr(
      c, c.emit(OpKind::concat,
                {{concat::values, values}, {concat::axis, axis}, {concat::interleave, false}}));
}

Expr slice(const Expr &x, int64_t axis, const Dim &begin, const Dim &end, int64_t step) {
  Call &c = x.call();
  if (!x.valid() || (begin == Dim(0) && end == x.shape()[axis] && step == 1))
    return x;
  Shape begins(x.rank(), 0), ends(x.shape());
  begins[axis] = begin;
  ends[axis] = end;
  // Whole axes are masked, so that only the sliced one's bounds are ever computed.
  llvm::SmallVector<bool, 5> mask(x.rank(), true);
  mask[axis] = false;
  for (int64_t i = 0; i < x.rank(); ++i)
    if (i != axis && !ends[i].isConst())
      ends[i] = 0;
  llvm::SmallVector<Arg, 6> args = {{slice_by_index::x, x.value()},
                                    {slice_by_index::begin, c.materialise(begins)},
                                    {slice_by_index::end, c.materialise(ends)},
                                    {slice_by_index::begin_mask, llvm::ArrayRef<bool>(mask)},
                                    {slice_by_index::end_mask, llvm::ArrayRef<bool>(mask)}};
  if (step != 1) {
    llvm::SmallVector<int64_t, 5> strides(x.rank(), 1);
    strides[axis] = step;
    args.push_back({slice_by_index::stride, llvm::ArrayRef<int64_t>(strides)});
  }
  Value *result = c.emit(OpKind::slice_by_index, args);
  if (result->type.isTensor() && !(begin.isConst() && end.isConst())) {
    Shape shape(x.shape());
    shape[axis] = ceildiv(end - begin, Dim(step));
    result->type = result->type.withShape(shape);
  }
  return Expr(c, result);
}

Expr gather(const Expr &x, const Expr &indices, int64_t axis) {
  return Expr(x.call(), x.call().emit(OpKind::gather, {{gather::x, x.value()},
                                                       {gather::indices, indices.value()},
                                                       {gather::axis, axis},
                                                       {gather::batch_dims, 0},
                                                       {gather::validate_indices, false}}));
}

Expr expandDims(const Expr &x, llvm::ArrayRef<int64_t> axes) {
  return Expr(x.call(), x.call().emit(OpKind::expand_dims,
                                      {{expand_dims::x, x.value()}, {expand_dims::axes, axes}}));
}

Expr squeeze(const Expr &x, llvm::ArrayRef<int64_t> axes) {
  return Expr(x.call(),
              x.call().emit(OpKind::squeeze, {{squeeze::x, x.value()}, {squeeze::axes, axes}}));
}

Expr iota(Call &c, const Dim &n) {
  if (auto count = n.tryValue()) {
    if (*count < 0)
      c.refuse(Code::UnsupportedForm, "a range of {0} numbers", *count);
    llvm::SmallVector<int64_t, 0> values(*count);
    std::iota(values.begin(), values.end(), 0);
    return Expr(c, c.builder().ints(values, "iota"));
  }
  Value *result =
      c.emit(OpKind::range_1d,
             {{range_1d::end, c.materialise(n)}, {range_1d::start, 0}, {range_1d::step, 1}});
  if (result->type.isTensor())
    result->type = result->type.withShape({n});
  return Expr(c, result);
}

Expr wrapIndices(const Expr &indices, const Dim &size) {
  Call &c = indices.call();
  if (!indices.valid())
    return indices;
  if (const TensorData *tensor = constTensor(indices); tensor && size.isConst()) {
    auto values = tensor->intValues();
    if (!values) {
      c.refuse(values.takeError());
      return Expr(c, c.builder().poison());
    }
    bool changed = false;
    for (int64_t &value : *values) {
      if (value < -size.value() || value >= size.value()) {
        c.refuse(Code::OperandMismatch, "index {0} is out of range for a dimension of size {1}",
                 value, size.value());
        return Expr(c, c.builder().poison());
      }
      if (value < 0) {
        value += size.value();
        changed = true;
      }
    }
    if (!changed)
      return indices;
    return Expr(c, c.builder().constant(
                       TensorData::ints(*values).reshape(*constShape(indices.shape())), "indices"));
  }
  return select(less(indices, 0), indices + sizeOf(c, size), indices);
}

std::optional<Shape> broadcastShapes(Call &c, llvm::ArrayRef<llvm::ArrayRef<Dim>> shapes) {
  Shape result;
  for (llvm::ArrayRef<Dim> shape : shapes) {
    auto next = mil::broadcast(result, shape);
    if (!next) {
      c.refuse(next.takeError());
      return std::nullopt;
    }
    result = std::move(*next);
  }
  return result;
}

Dim sizeOfAxes(llvm::ArrayRef<Dim> shape, llvm::ArrayRef<int64_t> axes) {
  Dim n = 1;
  for (int64_t axis : axes)
    n = n * shape[axis];
  return n;
}

llvm::SmallVector<int64_t, 6> allAxes(int64_t rank) {
  llvm::SmallVector<int64_t, 6> axes(rank);
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

llvm::SmallVector<int64_t, 6> orderedAxes(Call &c, llvm::StringRef name, int64_t rank) {
  auto axes = c.integers(name);
  for (int64_t &axis : axes) {
    if (axis < -rank || axis >= rank) {
      c.refuse(Code::OperandMismatch, "dimension {0} is out of range for a tensor of rank {1}",
               axis, rank);
      return {};
    }
    axis = axis < 0 ? axis + rank : axis;
  }
  return axes;
}

Tensor toFloat(Call &c, Tensor x) {
  return x.isFloat() ? x : c.cast(x, at::typeMetaToScalarType(at::get_default_dtype()));
}

std::optional<double> knownNumber(Call &c, llvm::StringRef name) {
  auto value = c.val(name).known();
  return value && value->isScalar() ? std::optional(c.number(name)) : std::nullopt;
}

Expr timesArgument(Call &c, const Expr &x, llvm::StringRef name) {
  if (auto number = knownNumber(c, name))
    return *number == 1 ? x : x * *number;
  return x * Expr(c, c.scalar(name, x.dtype()));
}

} // namespace plait::frontend
