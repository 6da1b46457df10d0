// Of what a gather takes, and backwards to what computes it.
#include "passes/NarrowIndices.h"

#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

constexpr int64_t kSizeOfU16 = int64_t(UINT16_MAX) + 1;

/// The parameter that takes indices into tensors in fp16.
std::optional<unsigned> indicesOf(const Op &op) {
  static_assert(unsigned(gather::x) == unsigned(gather_along_axis::x) &&
                unsigned(gather::x) == unsigned(gather_nd::x));
  if (!op.is(OpKind::gather) && !op.is(OpKind::gather_along_axis) && !op.is(OpKind::gather_nd))
    return std::nullopt;
  if (!op[gather::x]->type.isTensor() || op[gather::x]->type.dtype() != DType::F16)
    return std::nullopt;
  return op.is(OpKind::gather)              ? unsigned(gather::indices)
         : op.is(OpKind::gather_along_axis) ? unsigned(gather_along_axis::indices)
                                            : unsigned(gather_nd::indices);
}

bool narrowConstant(Op &op, unsigned param) {
  const TensorData *indices = constTensor(op[param]);
  if (!indices || indices->dtype() != DType::I32 || indices->byteSize() > kSmallBytes)
    return false;
  auto values = constInts(op[param]);
  if (!values || values->empty())
    return false;
  if (llvm::any_of(*values, [](int64_t index) { return index < 0 || index >= kSizeOfU16; }))
    return false;
  std::vector<uint16_t> elements(values->begin(), values->end());
  TensorData narrow = TensorData::from<uint16_t>(DType::U16, indices->shape(), elements)
                          .withOrigin(originOf(*indices).asComputed());
  Value *wide = op[param];
  op.set(param, derivedConstant(&op, std::move(narrow), wide));
  eraseDead(wide->def());
  return true;
}

/// Nothing but gathers take the value, also behind what moves it; `moves` gets what does, in order.
bool onlyGathersTake(const Value *value, llvm::SmallVectorImpl<Op *> &moves) {
  if (!value->hasUses() || value->isOutput())
    return false;
  for (Operand &use : value->uses()) {
    Op *user = use.owner();
    if (auto param = indicesOf(*user)) {
      if ((*user)[*param] != value || (*user)[gather::x] == value)
        return false;
      continue;
    }
    bool isMove = user->is(OpKind::expand_dims) || user->is(OpKind::squeeze) ||
                  user->is(OpKind::reshape) || user->is(OpKind::transpose);
    if (!isMove || (*user)[0] != value)
      return false;
    moves.push_back(user);
    if (!onlyGathersTake(user->result(), moves))
      return false;
  }
  return true;
}

bool narrowResult(Op &op) {
  unsigned data, axis, type, result = 0;
  if (op.is(OpKind::topk)) {
    data = topk::x, axis = topk::axis, type = topk::output_indices_dtype, result = 1;
  } else if (op.is(OpKind::reduce_argmax)) {
    data = reduce_argmax::x, axis = reduce_argmax::axis, type = reduce_argmax::output_dtype;
  } else if (op.is(OpKind::reduce_argmin)) {
    data = reduce_argmin::x, axis = reduce_argmin::axis, type = reduce_argmin::output_dtype;
  } else {
    return false;
  }
  if (!op[type] || op.numResults() <= result || op.result(result)->type.dtype() != DType::I32)
    return false;
  auto along = constInt(op[axis]);
  const Value *x = op[data];
  auto size = along && x->type.rank()
                  ? x->type.shape()[normalAxis(*along, x->type.rank())].tryValue()
                  : std::nullopt;
  llvm::SmallVector<Op *, 4> moves;
  if (!size || *size > kSizeOfU16 || !onlyGathersTake(op.result(result), moves))
    return false;
  Value *before = op[type];
  op.set(type, Builder::before(&op).constant(Attr::string("uint16"), before->name));
  if (!retype(&op)) {
    op.set(type, before);
    return false;
  }
  eraseDead(before->def());
  for (Op *move : moves) {
    [[maybe_unused]] bool fits = retype(move);
    assert(fits && "a move of what it takes from ios17 on");
  }
  return true;
}

} // namespace

bool narrowIndices(Function &function) {
  llvm::SmallVector<Op *, 16> ops;
  mil::walk(function.body(), [&](Op &op) {
    if (!op.is(OpKind::const_))
      ops.push_back(&op);
  });
  bool changed = false;
  for (Op *op : ops)
    if (auto param = indicesOf(*op))
      changed |= narrowConstant(*op, *param);
    else
      changed |= narrowResult(*op);
  return changed;
}

} // namespace plait::passes
