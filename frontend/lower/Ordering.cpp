// Cumulative operations, sorting, the largest k, order statistics and searches.
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"

#include <cmath>

namespace plait::frontend {

using namespace mil;

namespace {
Expr alongAxis(const Expr &x, const Expr &indices, int64_t axis) {
  return Expr(x.call(), x.call().emit(OpKind::gather_along_axis,
                                      {{gather_along_axis::x, x.value()},
                                       {gather_along_axis::indices, indices.value()},
                                       {gather_along_axis::axis, axis},
                                       {gather_along_axis::validate_indices, false}}));
}

/// What cumsum and cumprod run over: self in the type they accumulate in, and the axis.
std::pair<Tensor, int64_t> scanned(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return {x, 0};
  x = c.cast(x, c.has("dtype")                      ? *c.optionalDType("dtype")
                : at::isIntegralType(x.dtype, true) ? at::kLong
                                                    : x.dtype);
  return {x, c.axis("dim", std::max<int64_t>(x.rank(), 1))};
}

void lowerCumsum(Call &c) {
  auto [x, axis] = scanned(c);
  if (c.failed())
    return;
  if (x.rank() == 0)
    return c.result(x);
  c.result(c.emit(OpKind::cumsum, {{cumsum::x, x.value},
                                   {cumsum::axis, axis},
                                   {cumsum::exclusive, false},
                                   {cumsum::reverse, false}}),
           x.dtype);
}

/// An inclusive scan with an associative `combine(earlier, later)` in log2(n) steps: at each, every
/// element takes in the one 2^k before it. Refuses sizes that are not known.
using Several = llvm::SmallVector<Expr, 2>;
Several scan(Call &c, Several x, int64_t axis,
             llvm::function_ref<Several(const Several &, const Several &)> combine) {
  auto size = x[0].shape()[axis].tryValue();
  if (!size) {
    c.refuse(Code::NotKnown, "the scanned dimension must have a known size");
    return x;
  }
  for (int64_t shift = 1; shift < *size && x[0].valid(); shift *= 2) {
    Several earlier, later;
    for (const Expr &e : x) {
      earlier.push_back(slice(e, axis, 0, *size - shift));
      later.push_back(slice(e, axis, shift, *size));
    }
    Several tail = combine(earlier, later);
    for (auto [e, t] : llvm::zip(x, tail))
      e = concat(c, {slice(e, axis, 0, shift), t}, axis);
  }
  return x;
}

void lowerCumprod(Call &c) {
  auto [x, axis] = scanned(c);
  if (c.failed())
    return;
  if (x.rank() == 0)
    return c.result(x);
  auto product = scan(c, {Expr(c, x)}, axis,
                      [](const Several &a, const Several &b) { return Several{a[0] * b[0]}; });
  c.result(product[0], x.dtype);
}

/// Differences of neighbours, n times; of bools whether they differ.
void lowerDiff(Call &c) {
  Tensor x = c.tensor("self"), before = c.optionalTensor("prepend"),
         after = c.optionalTensor("append");
  int64_t n = c.integer("n"), axis = c.axis("dim", x.rank());
  if (c.failed())
    return;
  if (n == 0) // what stands before and after is not looked at
    return c.result(x);
  at::ScalarType dtype = x.dtype;
  for (const Tensor &other : {before, after})
    if (other)
      dtype = at::promote_types(dtype, other.dtype);
  llvm::SmallVector<Value *, 3> parts;
  for (const Tensor &part : {before, x, after})
    if (part)
      parts.push_back(c.cast(part, dtype).value);
  Expr y = parts.size() == 1 ? Expr(c, parts[0]) : concat(c, parts, axis);
  for (; n > 0 && y.valid(); --n) {
    Dim size = y.shape()[axis];
    if (size == Dim(0) || size == Dim(1))
      return c.refuse(Code::UnsupportedForm, "the result has no elements");
    if (mayBeOne(size))
      return c.refuse(Code::UnsupportedForm,
                      "along dimension {0}, whose size may be {1}, the result would have no "
                      "elements then; let the range begin at {2} (--input 'x=[{2}..…]')",
                      axis, x.size(axis).lower(), x.size(axis).lower() + 2 - size.lower());
    Expr next = slice(y, axis, 1, size), previous = slice(y, axis, 0, size - Dim(1));
    y = dtype == at::kBool ? binary(OpKind::logical_xor, next, previous) : next - previous;
  }
  c.result(y, dtype);
}

void lowerLogcumsumexp(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  int64_t axis = c.axis("dim", std::max<int64_t>(x.rank(), 1));
  if (c.failed())
    return;
  if (x.rank() == 0)
    return c.result(x);
  auto sum = scan(c, {Expr(c, x)}, axis, [](const Several &a, const Several &b) {
    return Several{logAddExp(a[0], b[0])};
  });
  c.result(sum[0], x.dtype);
}

/// Running extremes and where they last occurred.
template <bool Max> void lowerCumulativeExtreme(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  int64_t axis = c.axis("dim", std::max<int64_t>(x.rank(), 1));
  if (c.failed())
    return;
  if (x.rank() == 0) {
    c.result(x);
    return c.result(c.full({}, DType::I32, 0), at::kLong);
  }
  Expr e(c, c.castTo(x.value, x.isFloat() ? DType::F32 : DType::I32));
  Shape along(x.rank(), 1);
  along[axis] = x.size(axis);
  Expr positions(c, c.broadcastTo(c.reshape(iota(c, x.size(axis)), along), x.shape()));
  auto best = scan(c, {e, positions}, axis, [](const Several &a, const Several &b) {
    Expr later = Max ? greaterEqual(b[0], a[0]) : lessEqual(b[0], a[0]);
    return Several{select(later, b[0], a[0]), select(later, b[1], a[1])};
  });
  c.result(castTo(best[0], x.milType()), x.dtype);
  c.result(best[1], at::kLong);
}

/// Values in order along an axis, and where they were.
std::pair<Expr, Expr> sorted(const Expr &x, int64_t axis, bool descending) {
  Expr indices(x.call(), x.call().emit(OpKind::argsort, {{argsort::x, x.value()},
                                                         {argsort::axis, axis},
                                                         {argsort::ascending, !descending}}));
  return {alongAxis(x, indices, axis), indices};
}

/// A tensor to sort: bool as int32, rank at least 1.
struct Sortable {
  Sortable(Call &c, Tensor tensor) : c(c), tensor(tensor), x(c, tensor) {
    if (tensor.isBool())
      x = castTo(x, DType::I32);
    if (tensor.rank() == 0)
      x = Expr(c, c.reshape(x, {1}));
  }
  /// Undoes both.
  void give(Expr value, bool squeezed = false) {
    if (tensor.rank() == 0 && !squeezed)
      value = Expr(c, c.reshape(value, {}));
    c.result(castTo(value, tensor.milType()), tensor.dtype);
  }
  void giveIndices(Expr value, bool squeezed = false) {
    c.result(tensor.rank() == 0 && !squeezed ? c.reshape(value, {}) : value.value(), at::kLong);
  }
  Call &c;
  Tensor tensor;
  Expr x;
};

void lowerSort(Call &c) {
  Tensor self = c.tensor("self");
  bool msort = c.name() == "aten::msort";
  bool descending = !msort && c.boolean("descending");
  if (c.failed())
    return;
  int64_t axis = msort ? 0 : c.axis("dim", std::max<int64_t>(self.rank(), 1));
  if (c.failed())
    return;
  Sortable s(c, self);
  auto [values, indices] = sorted(s.x, axis, descending);
  if (!llvm::StringRef(c.name()).starts_with("aten::argsort"))
    s.give(values);
  if (!msort)
    s.giveIndices(indices);
}

void lowerTopk(Call &c) {
  Tensor self = c.tensor("self");
  Dim count = c.dim("k");
  bool largest = c.boolean("largest");
  if (c.failed())
    return;
  int64_t axis = c.axis("dim", std::max<int64_t>(self.rank(), 1));
  if (c.failed())
    return;
  Sortable s(c, self);
  if (!count.isConst()) { // topk's own is a constant
    auto [values, indices] = sorted(s.x, axis, largest);
    s.give(slice(values, axis, 0, count));
    return s.giveIndices(slice(indices, axis, 0, count));
  }
  int64_t k = count.value();
  if (auto size = s.x.shape()[axis].tryValue(); size && k > *size)
    return c.refuse(Code::OperandMismatch, "k = {0} exceeds the dimension's size {1}", k, *size);
  // Sorted whatever `sorted` says: PyTorch leaves the order open otherwise.
  Op *op = c.create(OpKind::topk, {{topk::x, s.x.value()},
                                   {topk::k, k},
                                   {topk::axis, axis},
                                   {topk::ascending, !largest},
                                   {topk::sort, true},
                                   {topk::return_indices, true},
                                   {topk::output_indices_dtype, "int32"}});
  if (!op)
    return;
  s.give(Expr(c, op->result(0)));
  s.giveIndices(Expr(c, op->result(1)));
}

/// The element at a rank, counted from 0, of the ascending order; NaN is not treated specially.
void giveOrderStatistic(Call &c, Sortable &s, int64_t axis, int64_t rank, bool keep) {
  auto [values, indices] = sorted(s.x, axis, false);
  auto pick = [&](Expr e) {
    e = slice(e, axis, rank, rank + 1);
    return keep && s.tensor.rank() ? e : squeeze(e, {axis});
  };
  s.give(pick(values), true);
  if (c.schema().returns().size() == 2)
    s.giveIndices(pick(indices), true);
}

void lowerKthvalue(Call &c) {
  Tensor self = c.tensor("self");
  int64_t k = c.integer("k");
  bool keep = c.boolean("keepdim");
  if (c.failed())
    return;
  int64_t axis = c.axis("dim", std::max<int64_t>(self.rank(), 1));
  if (c.failed())
    return;
  Sortable s(c, self);
  giveOrderStatistic(c, s, axis, k - 1, keep);
}

/// The lower median; without `dim` that of all elements.
void lowerMedian(Call &c) {
  Tensor self = c.tensor("self");
  if (c.failed())
    return;
  bool whole = !c.schema().argumentIndexWithName("dim");
  bool keep = !whole && c.boolean("keepdim");
  int64_t axis = whole ? 0 : c.axis("dim", std::max<int64_t>(self.rank(), 1));
  if (c.failed())
    return;
  Sortable s(c, self);
  if (whole)
    s.x = Expr(c, c.reshape(s.x, {numElements(self.shape())}));
  auto size = s.x.valid() ? s.x.shape()[axis].tryValue() : std::nullopt;
  if (!size)
    return c.refuse(Code::NotKnown, "the dimension must have a known size");
  giveOrderStatistic(c, s, axis, (*size - 1) / 2, keep);
}

/// How many boundaries lie before each value: comparisons counted, since the sequences are short.
void giveSearch(Call &c, Tensor boundaries, Tensor values, bool right) {
  if (c.failed())
    return;
  at::ScalarType dtype = at::promote_types(boundaries.dtype, values.dtype);
  Expr b(c, c.cast(boundaries, dtype)), v(c, c.cast(values, dtype));
  Expr each = expandDims(v, {v.rank()});
  // Boundaries of several rows stand against values of as many rows.
  if (b.rank() > 1)
    b = expandDims(b, {b.rank() - 1});
  Expr before = right ? lessEqual(b, each) : less(b, each);
  if (!before.valid())
    return;
  c.result(reduce(OpKind::reduce_sum, castTo(before, DType::I32), before.rank() - 1, false),
           c.boolean("out_int32") ? at::kInt : at::kLong);
}

void lowerBucketize(Call &c) {
  Tensor boundaries = c.tensor("boundaries");
  bool right = c.boolean("right");
  if (!c.failed())
    giveSearch(c, boundaries, c.operand("self", c.promote({"self", "boundaries"})), right);
}

void lowerSearchsorted(Call &c) {
  Tensor sequence = c.tensor("sorted_sequence");
  bool right = c.boolean("right");
  if (c.has("side"))
    right |= c.string("side") == "right";
  if (c.has("sorter"))
    return c.refuse(Code::UnsupportedForm, "a sorter is not supported; sort the sequence itself");
  if (!c.failed())
    giveSearch(c, sequence, c.operand("self", c.promote({"self", "sorted_sequence"})), right);
}
} // namespace

void registerOrdering(Table &table) {
  table.add({"aten::cumsum"}, lowerCumsum);
  table.add({"aten::cumprod"}, lowerCumprod);
  table.add({"aten::diff"}, lowerDiff);
  table.add({"aten::logcumsumexp"}, lowerLogcumsumexp);
  table.add({"aten::cummax"}, lowerCumulativeExtreme<true>);
  table.add({"aten::cummin"}, lowerCumulativeExtreme<false>);
  table.add(
      {"aten::sort", "aten::sort.stable", "aten::argsort", "aten::argsort.stable", "aten::msort"},
      lowerSort);
  table.add({"aten::topk"}, lowerTopk);
  table.add({"aten::kthvalue"}, lowerKthvalue);
  table.add({"aten::median", "aten::median.dim"}, lowerMedian);
  table.add({"aten::bucketize.Tensor", "aten::bucketize.Scalar"}, lowerBucketize);
  table.add({"aten::searchsorted.Tensor", "aten::searchsorted.Scalar"}, lowerSearchsorted);
  table.setLeavesRange({"aten::diff", "aten::cumsum", "aten::cumprod"});
}

} // namespace plait::frontend
