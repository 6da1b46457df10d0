// Masks of attention: which rows are masked wholly, from constants, from bounds, or at run time.
#include "frontend/lower/Masks.h"

#include <cfloat>
#include <cmath>

namespace plait::frontend {

using namespace mil;

namespace {
/// Constants of up to this many elements are looked through; a larger one is treated as if it was
/// computed.
constexpr int64_t largestReadMask = int64_t(1) << 24;

/// What a value lies between. NaN is in every interval.
struct Interval {
  double low = -INFINITY, high = INFINITY;

  static Interval of(std::initializer_list<double> ends) {
    for (double end : ends)
      if (std::isnan(end))
        return {};
    return {std::min(ends), std::max(ends)};
  }
};

std::optional<std::vector<double>> maskValues(const Value *mask) {
  const TensorData *tensor = constTensor(mask);
  if (!tensor || tensor->numElements() > largestReadMask)
    return std::nullopt;
  auto values = tensor->floatValues();
  if (!values) {
    llvm::consumeError(values.takeError());
    return std::nullopt;
  }
  return std::move(*values);
}

/// Bounds of a value that follow from how it is computed, through a few operations.
Interval intervalOf(const Value *value, unsigned steps = 12) {
  if (!value || !value->type.isTensor())
    return {};
  if (auto values = maskValues(value)) {
    Interval result{INFINITY, -INFINITY};
    for (double v : *values)
      result = {std::min(result.low, v), std::max(result.high, v)};
    return result;
  }
  Interval any;
  if (value->type.dtype() == DType::Bool)
    any = {0, 1};
  else if (isInteger(value->type.dtype()))
    any = {-0x1p31, 0x1p31};
  const Op *op = value->def();
  if (!op || steps == 0)
    return any;
  auto operand = [&](unsigned param) { return intervalOf((*op)[param], steps - 1); };
  switch (op->kind()) {
  case OpKind::cast:
  case OpKind::identity:
  case OpKind::reshape:
  case OpKind::expand_dims:
  case OpKind::squeeze:
  case OpKind::tile:
  case OpKind::transpose:
  case OpKind::slice_by_index:
  case OpKind::gather:
    return operand(0);
  case OpKind::select: {
    Interval a = operand(select::a), b = operand(select::b);
    return {std::min(a.low, b.low), std::max(a.high, b.high)};
  }
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

/// A known mask: the rows of which every element is `hidden` are replaced.
AttentionMask knownMask(Call &c, Value *mask, std::vector<double> values) {
  const TensorData &tensor = *constTensor(mask);
  bool isBool = tensor.dtype() == DType::Bool;
  llvm::SmallVector<int64_t, 4> shape(tensor.shape());
  int64_t keys = shape.back(), rows = keys ? int64_t(values.size()) / keys : 0;
  std::vector<float> alive(rows, 1);
  for (int64_t row = 0; row < rows; ++row) {
    auto begin = values.begin() + row * keys, end = begin + keys;
    if (!std::all_of(begin, end, [&](double v) { return isBool ? v == 0 : v == -INFINITY; }))
      continue;
    alive[row] = 0;
    std::fill(begin, end, isBool ? 1 : 0);
  }
  if (llvm::all_of(alive, [](float a) { return a == 1; }))
    return {mask, nullptr};
  auto like = [&](const TensorData &made, const char *name) {
    return c.builder().constant(made, name);
  };
  Value *open;
  if (isBool) {
    std::vector<uint8_t> bytes(values.begin(), values.end());
    open = like(TensorData::from<uint8_t>(DType::Bool, shape, bytes), "mask");
  } else {
    std::vector<float> single(values.begin(), values.end());
    open = like(TensorData::from<float>(DType::F32, shape, single), "mask");
  }
  shape.back() = 1;
  return {open, like(TensorData::from<float>(DType::F32, shape, alive), "mask_rows")};
}
} // namespace

AttentionMask withoutDeadRows(Call &c, Value *mask) {
  if (!mask || !mask->type.isTensor())
    return {mask, nullptr};
  if (mask->type.rank() == 0)
    mask = c.reshape(mask, {1});
  if (auto values = maskValues(mask))
    return knownMask(c, mask, std::move(*values));
  Expr m(c, mask);
  int64_t last = m.rank() - 1;
  if (m.dtype() == DType::Bool) {
    Expr alive = reduce(OpKind::reduce_max, castTo(m, DType::F32), last, true);
    return {logicalOr(m, equal(alive, 0.0)), alive};
  }
  // A finite mask hides nothing from a softmax that sees nothing else.
  if (intervalOf(mask).low >= -FLT_MAX)
    return {mask, nullptr};
  Expr some = greater(reduce(OpKind::reduce_max, m, last, true), -INFINITY);
  // Wholly masked rows are raised to 0, the others to what is still masked.
  Expr floor(c, c.emit(OpKind::select, {{select::cond, some.value()},
                                        {select::a, c.full(some.shape(), DType::F32, -FLT_MAX)},
                                        {select::b, c.full(some.shape(), DType::F32, 0)}}));
  return {maximum(m, floor), castTo(some, DType::F32)};
}

Expr zeroDeadRows(const Expr &y, const AttentionMask &mask) {
  return mask.alive ? y * Expr(y.call(), mask.alive) : y;
}

} // namespace plait::frontend
