// What is known of small integer tensors that are computed from shapes: enough to give `reshape`,
// slices and fills exact symbolic result types.
#include "mil/Infer.h"

namespace plait::mil {

namespace {
using Dims = llvm::SmallVector<Dim, 8>;
/// Longer vectors are no shapes.
constexpr int64_t kMaxElements = 64;

/// Looks at no more than a fixed number of operations, so that types are inferred in linear time.
class Finder {
public:
  std::optional<Dims> find(const Value *value);

private:
  std::optional<Dims> ofOp(const Op &op);
  std::optional<Dims> elementwise(const Op &op);
  unsigned budget_ = 48;
};

std::optional<Dims> Finder::find(const Value *value) {
  if (!value || !value->type.isTensor() || !isInteger(value->type.dtype()))
    return std::nullopt;
  if (const TensorData *tensor = constTensor(value)) {
    if (tensor->numElements() > kMaxElements)
      return std::nullopt;
    auto values = constInts(value);
    if (!values)
      return std::nullopt;
    return Dims(values->begin(), values->end());
  }
  if (!value->def() || value->type.rank() > 1 || budget_ == 0)
    return std::nullopt;
  --budget_;
  auto dims = ofOp(*value->def());
  if (dims && dims->size() > kMaxElements)
    return std::nullopt;
  return dims;
}

std::optional<Dims> Finder::elementwise(const Op &op) {
  auto a = find(op[add::x]), b = a ? find(op[add::y]) : std::nullopt;
  if (!a || !b || (a->size() != b->size() && a->size() != 1 && b->size() != 1))
    return std::nullopt;
  Dims result;
  for (size_t i = 0; i < std::max(a->size(), b->size()); ++i) {
    const Dim &x = (*a)[a->size() == 1 ? 0 : i], &y = (*b)[b->size() == 1 ? 0 : i];
    bool divides = op.is(OpKind::floor_div) || op.is(OpKind::mod);
    if (divides && y.lower() <= 0)
      return std::nullopt;
    switch (op.kind()) {
    case OpKind::add:
      result.push_back(x + y);
      break;
    case OpKind::sub:
      result.push_back(x - y);
      break;
    case OpKind::mul:
      result.push_back(x * y);
      break;
    case OpKind::floor_div:
      result.push_back(floordiv(x, y));
      break;
    case OpKind::mod:
      result.push_back(floormod(x, y));
      break;
    case OpKind::maximum:
      result.push_back(max(x, y));
      break;
    default:
      result.push_back(min(x, y));
    }
  }
  return result;
}

std::optional<Dims> Finder::ofOp(const Op &op) {
  switch (op.kind()) {
  case OpKind::shape: {
    auto shape = op[shape::x]->type.shape();
    return Dims(shape.begin(), shape.end());
  }
  case OpKind::add:
  case OpKind::sub:
  case OpKind::mul:
  case OpKind::floor_div:
  case OpKind::mod:
  case OpKind::maximum:
  case OpKind::minimum:
    return elementwise(op);
  case OpKind::identity:
  case OpKind::cast:
  case OpKind::expand_dims:
  case OpKind::squeeze:
  case OpKind::reshape:
    return find(op[0]);
  case OpKind::concat:
  case OpKind::stack: {
    Dims result;
    for (const Operand &value : op.operands(0)) {
      auto part = find(value);
      if (!part)
        return std::nullopt;
      result.append(part->begin(), part->end());
    }
    return result;
  }
  case OpKind::gather: {
    auto data = find(op[gather::x]);
    auto indices = constInts(op[gather::indices]);
    if (!data || !indices || op[gather::x]->type.rank() != 1)
      return std::nullopt;
    Dims result;
    for (int64_t index : *indices) {
      index = index < 0 ? index + int64_t(data->size()) : index;
      if (index < 0 || index >= int64_t(data->size()))
        return std::nullopt;
      result.push_back((*data)[index]);
    }
    return result;
  }
  case OpKind::slice_by_size: {
    auto data = find(op[slice_by_size::x]);
    auto begin = constInt(op[slice_by_size::begin]), size = constInt(op[slice_by_size::size]);
    if (!data || !begin || !size)
      return std::nullopt;
    int64_t length = data->size(), first = *begin, count = *size == -1 ? length - *begin : *size;
    if (first < 0 || count < 0 || first + count > length)
      return std::nullopt;
    return Dims(data->begin() + first, data->begin() + first + count);
  }
  case OpKind::slice_by_index: {
    using namespace slice_by_index;
    auto data = find(op[x]);
    auto from = constInt(op[begin]), to = constInt(op[end]);
    bool fromStart = constInt(op[begin_mask]).value_or(0),
         toEnd = constInt(op[end_mask]).value_or(0),
         single = constInt(op[squeeze_mask]).value_or(0);
    if (!data || (!from && !fromStart) || (!to && !toEnd && !single) ||
        constInt(op[stride]).value_or(1) != 1)
      return std::nullopt;
    int64_t length = data->size();
    auto clamp = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + length : v, 0, length); };
    int64_t first = fromStart ? 0 : clamp(*from);
    int64_t last = single ? first + 1 : toEnd ? length : clamp(*to);
    if (last > length)
      return std::nullopt;
    return first < last ? Dims(data->begin() + first, data->begin() + last) : Dims();
  }
  default:
    return std::nullopt;
  }
}
} // namespace

std::optional<Dims> dimValues(const Value *value) { return Finder().find(value); }

} // namespace plait::mil
