// Bounds of run-time values: an additive mask that is finite, the length that a mask selects.
#include "frontend/engine/Bounds.h"

#include "mil/Builder.h"

#include <algorithm>

namespace plait::frontend {

using namespace mil;

/// A larger constant is treated as if it was computed.
static constexpr int64_t largestRead = int64_t(1) << 24;

Interval Interval::of(std::initializer_list<double> ends) {
  for (double end : ends)
    if (std::isnan(end))
      return {};
  return {std::min(ends), std::max(ends)};
}

Interval Interval::with(const Interval &other) const {
  return {std::min(low, other.low), std::max(high, other.high)};
}

std::optional<std::vector<double>> constantValues(const Value *value) {
  const TensorData *tensor = constTensor(value);
  if (!tensor || tensor->numElements() > largestRead)
    return std::nullopt;
  auto values = tensor->floatValues();
  if (!values) {
    llvm::consumeError(values.takeError());
    return std::nullopt;
  }
  return std::move(*values);
}

/// Of sizes: all of a shape, or the one that is picked from it.
static Interval sizesOf(const Op &shape, std::optional<int64_t> axis) {
  Interval result{INFINITY, -INFINITY};
  for (auto [i, size] : llvm::enumerate(shape[shape::x]->type.shape()))
    if (!axis || *axis == int64_t(i))
      result = result.with({double(std::max<int64_t>(size.lower(), 0)), double(size.upper())});
  return result.low <= result.high ? result : Interval();
}

/// The least of several numbers is at most any of them, the greatest at least.
static Interval extremeOf(const Op &op, unsigned steps) {
  Interval result = intervalOf(op[0], steps - 1);
  const Op *joined = op[0]->def();
  if (!joined || !joined->is(OpKind::concat) || op[0]->type.rank() != 1)
    return result;
  for (const Operand &part : joined->operands(concat::values)) {
    if (part->type.rank() == 1 && part->type.shape()[0].lower() < 1)
      continue;
    Interval one = intervalOf(part.get(), steps - 1);
    if (op.is(OpKind::reduce_min))
      result.high = std::min(result.high, one.high);
    else
      result.low = std::max(result.low, one.low);
  }
  return result;
}

static Interval computed(const Op &op, const Interval &any, unsigned steps) {
  auto operand = [&](unsigned param) { return intervalOf(op[param], steps - 1); };
  switch (op.kind()) {
  case OpKind::cast: {
    Interval x = operand(cast::x);
    DType type = op.result(0)->type.dtype();
    if (type == DType::Bool) // whether it is 0
      return any;
    return isInteger(type) ? Interval{std::floor(x.low), std::ceil(x.high)} : x;
  }
  case OpKind::identity:
  case OpKind::reshape:
  case OpKind::expand_dims:
  case OpKind::squeeze:
  case OpKind::tile:
  case OpKind::transpose:
  case OpKind::slice_by_index:
    return operand(0);
  case OpKind::reduce_max:
  case OpKind::reduce_min:
    return extremeOf(op, steps);
  case OpKind::gather: {
    const Op *x = op[gather::x]->def();
    auto picked = constantValues(op[gather::indices]);
    if (x && x->is(OpKind::shape) && picked && picked->size() == 1)
      return sizesOf(*x, int64_t(picked->front()));
    return operand(gather::x);
  }
  case OpKind::shape:
    return sizesOf(op, std::nullopt);
  case OpKind::concat: {
    Interval result{INFINITY, -INFINITY};
    for (const Operand &value : op.operands(concat::values))
      result = result.with(intervalOf(value.get(), steps - 1));
    return result;
  }
  case OpKind::reduce_sum: {
    // As many terms as there are elements at most, and none at least.
    double terms = double(numElements(op[reduce_sum::x]->type.shape()).upper());
    Interval x = operand(reduce_sum::x);
    return Interval::of({0, x.low * terms, x.high * terms});
  }
  case OpKind::select:
    return operand(select::a).with(operand(select::b));
  case OpKind::add: {
    Interval a = operand(0), b = operand(1);
    return Interval::of({a.low + b.low, a.high + b.high});
  }
  case OpKind::sub: {
    Interval a = operand(0), b = operand(1);
    return Interval::of({a.low - b.high, a.high - b.low});
  }
  case OpKind::mul: {
    Interval a = operand(0), b = operand(1);
    return Interval::of({a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high});
  }
  case OpKind::maximum: {
    Interval a = operand(0), b = operand(1);
    return {std::max(a.low, b.low), std::max(a.high, b.high)};
  }
  case OpKind::minimum: {
    Interval a = operand(0), b = operand(1);
    return {std::min(a.low, b.low), std::min(a.high, b.high)};
  }
  default:
    return any;
  }
}

Interval intervalOf(const Value *value, unsigned steps) {
  if (!value || !value->type.isTensor())
    return {};
  if (auto values = constantValues(value)) {
    Interval result{INFINITY, -INFINITY};
    for (double v : *values)
      result = result.with({v, v});
    return result.low <= result.high ? result : Interval();
  }
  Interval any;
  if (value->type.dtype() == DType::Bool)
    any = {0, 1};
  else if (isInteger(value->type.dtype()))
    any = {-0x1p31, 0x1p31};
  const Op *op = value->def();
  if (!op || steps == 0)
    return any;
  Interval found = computed(*op, any, steps);
  // What leaves an integer type wraps around.
  return found.low < any.low || found.high > any.high ? any : found;
}

} // namespace plait::frontend
