// fuse-linear: makes linear of a matmul by a constant, and takes an added vector as its bias.
//
//   %a = matmul(x = %x, y = const W [in, out])  before: %x has rank 2 or more
//   %b = add(x = %a, y = const b [out])
//
//   %b = linear(x = %x, weight = const W' [out, in], bias = const b)   after: W' is W through
//                                                                      swapped strides
//
// A vector that is added to some channels, behind reshapes, transposes, slices and splits, becomes
// part of the bias. With transpose_y the weight is taken as it is, also a compressed one. A
// constant that is used untransposed elsewhere stays with its matmul: it would be stored twice.
// Integers stay with matmul: Core ML refuses them in linear.
#include "passes/Channels.h"
#include "passes/Match.h"

namespace plait::passes {

using namespace mil;

/// Every use of the constant is the untransposed second operand of a matmul, so that all change
/// alike.
static bool onlyMultiplies(const Value *constant) {
  for (Operand &use : constant->uses()) {
    Op *user = use.owner();
    if (!user->is(OpKind::matmul) || (*user)[matmul::y] != constant ||
        (*user)[matmul::x] == constant || constBool((*user)[matmul::transpose_y]) != false)
      return false;
  }
  return true;
}

static bool makeLinear(Op &op) {
  Value *x = op[matmul::x], *y = op[matmul::y];
  if (!isCompileTime(y) || isCompileTime(x) || y->type.rank() != 2 || x->type.rank() < 2 ||
      !isFloat(x->type.dtype()) || !isFloat(y->type.dtype()) ||
      constBool(op[matmul::transpose_x]) != false)
    return false;
  auto transposed = constBool(op[matmul::transpose_y]);
  if (!transposed)
    return false;
  Builder builder = Builder::before(&op);
  Value *weight = y;
  if (!*transposed) {
    const TensorData *tensor = constTensor(y);
    if (!tensor || !onlyMultiplies(y))
      return false;
    weight = derivedConstant(&op, tensor->permute({1, 0}), y);
  }
  Value *result = builder.emit(OpKind::linear, {{linear::x, x}, {linear::weight, weight}}, op.name);
  if (Builder::isPoison(result))
    return false;
  replaceOp(&op, result);
  return true;
}

static bool takeBias(Op &op, PassContext &context) {
  for (unsigned side : {0, 1}) {
    Op *producer = definedBy(op[side], OpKind::linear);
    if (!producer || !producer->result()->hasOneUse() || (op.is(OpKind::sub) && side == 1) ||
        !(producer->result()->type == op.result()->type))
      continue;
    llvm::ArrayRef<Dim> shape = op.result()->type.shape();
    auto bias = addToBias((*producer)[linear::bias], op[1 - side], op.is(OpKind::sub), shape,
                          shape.size() - 1, context);
    if (!bias || bias->dtype() != (*producer)[linear::weight]->type.dtype())
      continue;
    Op *old = (*producer)[linear::bias] ? (*producer)[linear::bias]->def() : nullptr;
    producer->set(linear::bias, derivedConstant(producer, *bias, op[1 - side]));
    if (old)
      eraseDead(old);
    replaceOp(&op, producer->result());
    return true;
  }
  return false;
}

/// The same where the layer's result is moved or cut before the vector is added: the 1 of the
/// scales that a layer computes for a norm, beside shifts.
static bool takePartOfBias(Op &op, PassContext &context) {
  for (unsigned side : {0, 1}) {
    Value *value = op[side], *constant = op[1 - side];
    if (!constTensor(constant) || !(value->type == op.result()->type) ||
        !isFloat(value->type.dtype()) || (op.is(OpKind::sub) && side == 1))
      continue;
    auto channels = ownChannels(value);
    if (!channels || !channels->layer->is(OpKind::linear) || channels->layer->result() == value)
      continue;
    Op &layer = *channels->layer;
    auto terms = byChannel(*channels, value, constant, 0, context);
    Value *old = layer[linear::bias];
    auto bias = !old    ? std::optional(std::vector<double>(terms ? terms->size() : 0, 0))
                : terms ? smallFloats(old, context)
                        : std::nullopt;
    if (!terms || !bias)
      continue;
    for (auto [element, term] : llvm::zip(*bias, *terms))
      element += op.is(OpKind::sub) ? -term : term;
    TensorData sum = floats(layer[linear::weight]->type.dtype(), {int64_t(bias->size())}, *bias,
                            computedFrom({old, constant}));
    layer.set(linear::bias, old ? derivedConstant(&layer, sum, old)
                                : Builder::before(&layer).constant(sum, layer.name + "_bias"));
    if (old)
      eraseDead(old->def());
    replaceOp(&op, value);
    return true;
  }
  return false;
}

bool fuseLinear(Program &program, PassContext &context) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.is(OpKind::matmul))
      changed |= makeLinear(op);
    else if (op.is(OpKind::add) || op.is(OpKind::sub))
      changed |= takeBias(op, context) || takePartOfBias(op, context);
  });
  return changed;
}

} // namespace plait::passes
