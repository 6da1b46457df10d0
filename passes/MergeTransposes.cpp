// merge-transposes: makes one of a chain of transposes, and moves them together through elementwise
// operations.
//
//   %a = transpose(x = %x, perm = [0, 2, 3, 1]) before
//   %b = relu(x = %a)
//   %c = transpose(x = %b, perm = [0, 3, 1, 2])
//
//   %b = relu(x = %x)                           after
//
// A transpose moves down only if it meets another one, or if both operands of a binary operation
// are transposed alike and one of them for it alone. So the number of transposes never rises.
// Constants on the way are permuted in place. Linear layers between a transpose that brings the
// second axis to the end and one that brings it back are convolutions of size one, the form that
// the Neural Engine prefers (Apple, "Deploying Transformers on the Apple Neural Engine"):
//
//   %a = transpose(x = %x, perm = [0, 2, 1])    before
//   %b = linear(x = %a, weight = const W [out, in])
//   %c = transpose(x = %b, perm = [0, 2, 1])
//
//   %c = conv(x = %x, weight = const W [out, in, 1])               after
//
// A transpose that meets no other and moves only axes
// of one element is a reshape.
#include "mil/Computation.h"
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

using Perm = llvm::SmallVector<int64_t, 8>;

std::optional<Perm> permOf(const Op *op) {
  auto perm = constInts((*op)[transpose::perm]);
  if (perm)
    for (int64_t &axis : *perm)
      axis = normalAxis(axis, perm->size());
  return perm;
}

/// The operand that a chain of elementwise operations continues with: the only one that is no
/// constant; constants must not raise the rank.
std::optional<unsigned> passesThrough(const Op *op) {
  if (!op || op->numResults() != 1)
    return std::nullopt;
  if (computes(*op, Unary))
    return 0;
  if (!computes(*op, Binary))
    return std::nullopt;
  unsigned through = constTensor((*op)[0]) ? 1 : 0;
  const TensorData *other = constTensor((*op)[1 - through]);
  bool fits = other && !constTensor((*op)[through]) && (*op)[through]->type == op->result()->type &&
              other->rank() <= op->result()->type.rank();
  return fits ? std::optional(through) : std::nullopt;
}

/// `constant`, which broadcasts with a tensor transposed by `perm`, as it broadcasts with the
/// tensor before.
TensorData untransposed(const TensorData &constant, llvm::ArrayRef<int64_t> perm) {
  if (constant.numElements() == 1)
    return constant;
  llvm::SmallVector<int64_t, 6> shape(perm.size() - constant.rank(), 1);
  shape.append(constant.shape().begin(), constant.shape().end());
  Perm inverse(perm.size());
  for (auto [i, axis] : llvm::enumerate(perm))
    inverse[axis] = i;
  return constant.reshape(shape).permute(inverse);
}

/// The transpose `op`, joined with another one above it.
bool joinUpwards(Op &op) {
  auto outer = permOf(&op);
  llvm::SmallVector<std::pair<Op *, unsigned>, 4> chain; // from the one nearest to `op` upwards
  Value *source = op[transpose::x];
  while (!definedBy(source, OpKind::transpose)) {
    auto through = passesThrough(source->def());
    if (!through || !source->hasOneUse())
      return false;
    chain.emplace_back(source->def(), *through);
    source = (*source->def())[*through];
  }
  Op *above = source->def();
  auto inner = permOf(above);
  if (!outer || !inner)
    return false;
  Perm joined;
  for (int64_t axis : *outer)
    joined.push_back((*inner)[axis]);
  bool cancels = llvm::all_of(llvm::enumerate(joined),
                              [](auto it) { return int64_t(it.index()) == it.value(); });
  // Through a chain only if one transpose less remains.
  if (!chain.empty() && !cancels && !source->hasOneUse())
    return false;
  Value *result = op.result(), *x = (*above)[transpose::x];
  if (chain.empty() && cancels && !canReplace(result, x))
    return false;
  for (auto [link, through] : llvm::reverse(chain)) {
    if (computes(*link, Binary)) {
      Value *constant = (*link)[1 - through];
      TensorData moved = untransposed(*constTensor(constant), *inner);
      link->set(1 - through, derivedConstant(link, moved, constant));
    }
    link->set(through, x);
    [[maybe_unused]] bool typed = retype(link);
    assert(typed && "an elementwise operation takes any shape");
    x = link->result();
  }
  if (!cancels)
    x = Builder::before(&op).emit(
        OpKind::transpose, {{transpose::x, x}, {transpose::perm, llvm::ArrayRef<int64_t>(joined)}});
  if (!chain.empty()) // else it goes with `op`
    eraseDead(above);
  replaceOp(&op, x);
  return true;
}

/// A linear layer of constants that keeps the rank.
bool isLayer(const Op &op, size_t rank) {
  return op.is(OpKind::linear) && op[linear::x]->type.rank() == rank &&
         constTensor(op[linear::weight]) && (!op[linear::bias] || constTensor(op[linear::bias]));
}

/// A layer of which nothing but a transpose takes the result.
bool isTransposedLayer(const Op *op) {
  return op->is(OpKind::linear) && op->result()->hasOneUse() &&
         op->result()->users()[0]->is(OpKind::transpose);
}

/// The layer as a convolution of size one, of an operand whose second axis is the layer's last.
Value *convolution(Op &layer, Value *x) {
  const TensorData &weight = *constTensor(layer[linear::weight]);
  llvm::SmallVector<int64_t, 4> shape(weight.shape());
  shape.resize(x->type.rank(), 1);
  Value *kernel = derivedConstant(&layer, weight.reshape(shape), layer[linear::weight]);
  return Builder::before(&layer).emit(
      OpKind::conv, {{conv::x, x}, {conv::weight, kernel}, {conv::bias, layer[linear::bias]}},
      layer.name);
}

/// Linear layers between a transpose that brings the second axis to the end and one that brings it
/// back, with elementwise operations or without, as convolutions of size one. A constant at the
/// beginning is transposed in place.
bool asConvolutions(Op &op) {
  auto outer = permOf(&op);
  size_t rank = outer ? outer->size() : 0;
  if (rank != 3 && rank != 4)
    return false;
  Perm inner; // the inverse
  for (size_t i = 0; i < rank; ++i)
    inner.push_back(i == 0 ? 0 : i + 1 == rank ? 1 : int64_t(i) + 1);
  for (size_t i = 0; i < rank; ++i)
    if ((*outer)[inner[i]] != int64_t(i))
      return false;
  llvm::SmallVector<std::pair<Op *, unsigned>, 4> chain; // from the one nearest to `op` upwards
  bool hasLayer = false;
  Value *source = op[transpose::x];
  while (source->def() && !source->def()->is(OpKind::transpose) && !constTensor(source)) {
    bool layer = isLayer(*source->def(), rank);
    auto through = layer ? std::optional(0u) : passesThrough(source->def());
    if (!through || !source->hasOneUse())
      return false;
    hasLayer |= layer;
    chain.emplace_back(source->def(), *through);
    source = (*source->def())[*through];
  }
  if (!hasLayer || !source->def())
    return false;
  Value *x = nullptr;
  Op *above = source->def();
  if (above->is(OpKind::transpose)) {
    if (permOf(above) != inner)
      return false;
    x = (*above)[transpose::x];
  } else {
    if (!llvm::all_of(source->users(), isTransposedLayer))
      return false; // it would be stored twice
    x = derivedConstant(chain.back().first, constTensor(source)->permute(*outer), source);
  }
  for (auto [link, through] : llvm::reverse(chain)) {
    Op *before = (*link)[through]->def();
    if (isLayer(*link, rank)) {
      x = convolution(*link, x);
    } else {
      if (computes(*link, Binary)) {
        Value *constant = (*link)[1 - through];
        link->set(1 - through,
                  derivedConstant(link, untransposed(*constTensor(constant), inner), constant));
      }
      link->set(through, x);
      [[maybe_unused]] bool typed = retype(link);
      assert(typed && "an elementwise operation takes any shape");
      x = link->result();
      eraseDead(before);
    }
  }
  replaceOp(&op, x);
  return true;
}

/// op(transpose(x), transpose(y)) as transpose(op(x, y)).
bool joinOperands(Op &op) {
  Op *x = definedBy(op[0], OpKind::transpose), *y = definedBy(op[1], OpKind::transpose);
  if (!x || !y || x == y || !(x->result()->hasOneUse() || y->result()->hasOneUse()))
    return false;
  auto perm = permOf(x);
  if (!perm || perm != permOf(y))
    return false;
  Builder builder = Builder::before(&op);
  Value *joined = builder.emit(op.kind(), {Arg(0, (*x)[transpose::x]), Arg(1, (*y)[transpose::x])},
                               op.name + "_pre");
  replaceOp(&op,
            builder.emit(OpKind::transpose, {{transpose::x, joined},
                                             {transpose::perm, llvm::ArrayRef<int64_t>(*perm)}}));
  return true;
}

/// A transpose that moves axes of one element alone, past others, as a reshape.
bool asReshape(Op &op) {
  auto shape = staticShape(op.result());
  auto perm = permOf(&op);
  auto isTranspose = [](const Op *other) { return other && other->is(OpKind::transpose); };
  if (!shape || !perm || isTranspose(op[transpose::x]->def()) ||
      llvm::any_of(op.result()->users(), isTranspose))
    return false;
  int64_t last = -1;
  for (auto [i, axis] : llvm::enumerate(*perm)) {
    if ((*shape)[i] == 1)
      continue;
    if (axis < last)
      return false;
    last = axis;
  }
  replaceOp(&op, Builder::before(&op).emit(OpKind::reshape,
                                           {{reshape::x, op[transpose::x]},
                                            {reshape::shape, llvm::ArrayRef<int64_t>(*shape)}}));
  return true;
}

} // namespace

bool mergeTransposes(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (op.numResults() != 1 || !op.result()->hasUses())
      return;
    if (op.is(OpKind::transpose))
      changed |= joinUpwards(op) || asConvolutions(op);
    else if (computes(op, Binary))
      changed |= joinOperands(op);
  });
  if (changed)
    return changed;
  // Those that have met no other one.
  walk(program, [&](Op &op) {
    if (op.is(OpKind::transpose) && op.result()->hasUses())
      changed |= asReshape(op);
  });
  return changed;
}

} // namespace plait::passes
