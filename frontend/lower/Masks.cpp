// Masks of attention: which rows are masked wholly, from constants, from bounds, or at run time.
#include "frontend/lower/Masks.h"

#include "frontend/engine/Bounds.h"

#include <cfloat>
#include <cmath>

namespace plait::frontend {

using namespace mil;

namespace {
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
  if (auto values = constantValues(mask))
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
