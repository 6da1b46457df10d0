// Slices and the other transforms of constants, pushed through their trees.
#include "passes/ConstantViews.h"

#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

using Sizes = llvm::SmallVector<int64_t, 6>;

/// Elements begin, begin + step … of each axis, as a view where the tree allows one.
std::optional<TensorData> sliced(const TensorData &tensor, llvm::ArrayRef<int64_t> begin,
                                 llvm::ArrayRef<int64_t> step, llvm::ArrayRef<int64_t> size) {
  const TensorData::Node &node = tensor.node();
  switch (node.kind) {
  case TensorData::Kind::Strided: {
    if (isSubByte(node.dtype))
      return std::nullopt;
    int64_t offset = 0;
    Sizes strides;
    for (unsigned i = 0; i < node.shape.size(); ++i) {
      offset += begin[i] * node.strides[i];
      strides.push_back(step[i] * node.strides[i]);
    }
    return TensorData::view(node.storage, node.byteOffset + offset * (bitWidth(node.dtype) / 8),
                            node.dtype, size, strides);
  }
  case TensorData::Kind::Cast:
    if (auto inner = sliced(node.inputs[0], begin, step, size))
      return inner->cast(node.dtype);
    return std::nullopt;
  case TensorData::Kind::Scale:
    if (auto inner = sliced(node.inputs[0], begin, step, size))
      return inner->scale(node.factor);
    return std::nullopt;
  default:
    return std::nullopt;
  }
}

std::optional<TensorData> slicedByIndex(const Op &op, const TensorData &x) {
  namespace s = slice_by_index;
  auto begin = constInts(op[s::begin]), end = constInts(op[s::end]);
  auto stride = constInts(op[s::stride]);
  auto bit = [&](unsigned param, unsigned i) {
    auto mask = constInts(op[param]);
    return mask && (*mask)[i];
  };
  if (!begin || !end || (op[s::stride] && !stride))
    return std::nullopt;
  Sizes first, step, size;
  for (unsigned i = 0; i < x.rank(); ++i) {
    int64_t extent = x.shape()[i], by = stride ? (*stride)[i] : 1;
    if (by <= 0)
      return std::nullopt;
    auto clamp = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + extent : v, 0, extent); };
    int64_t from = bit(s::begin_mask, i) ? 0 : clamp((*begin)[i]);
    int64_t to = bit(s::end_mask, i) ? extent : clamp((*end)[i]);
    if (bit(s::squeeze_mask, i))
      to = from + 1;
    first.push_back(from);
    step.push_back(by);
    size.push_back((to - from + by - 1) / by);
  }
  auto view = sliced(x, first, step, size);
  auto shape = constShape(op.result()->type.shape());
  if (!view || !shape || view->numElements() != numElements(llvm::ArrayRef<int64_t>(*shape)))
    return std::nullopt;
  return view->reshape(*shape);
}

} // namespace

std::optional<TensorData> transformed(const Op &op, const TensorData &x, unsigned index) {
  auto shape = constShape(op.result(index)->type.shape());
  switch (op.kind()) {
  case OpKind::identity:
    return x;
  case OpKind::cast:
    return x.cast(op.result()->type.dtype());
  case OpKind::reshape:
  case OpKind::squeeze:
  case OpKind::expand_dims:
    return x.reshape(*shape);
  case OpKind::transpose: {
    auto perm = constInts(op[transpose::perm]);
    for (int64_t &axis : *perm)
      axis = normalAxis(axis, perm->size());
    return x.permute(*perm);
  }
  case OpKind::slice_by_index:
    return slicedByIndex(op, x);
  case OpKind::slice_by_size: {
    auto begin = constInts(op[slice_by_size::begin]);
    if (!begin || llvm::any_of(*begin, [](int64_t b) { return b < 0; }))
      return std::nullopt;
    return sliced(x, *begin, Sizes(x.rank(), 1), *shape);
  }
  case OpKind::split: {
    auto axis = constInt(op[mil::split::axis]);
    Sizes begin(x.rank(), 0);
    int64_t along = normalAxis(axis.value_or(0), x.rank());
    for (unsigned i = 0; i < index; ++i)
      begin[along] += op.result(i)->type.shape()[along].value();
    return sliced(x, begin, Sizes(x.rank(), 1), *shape);
  }
  case OpKind::mul: {
    const TensorData *factor = constTensor(op[mul::y]);
    if (!factor || factor->numElements() != 1 || !isFloat(x.dtype()) ||
        x.shape() != llvm::ArrayRef<int64_t>(*shape))
      return std::nullopt;
    std::optional<double> scalar = splatValue(*factor);
    return scalar && x.byteSize() > kSmallBytes ? std::optional(x.scale(*scalar)) : std::nullopt;
  }
  default:
    return std::nullopt;
  }
}

const TensorData::Node &leafOf(const TensorData &tensor) {
  const TensorData::Node *node = &tensor.node();
  while (node->inputs.size() == 1)
    node = &node->inputs[0].node();
  return *node;
}

} // namespace plait::passes
