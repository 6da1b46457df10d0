// drop-zero-bias: makes matmul of the linears of a low-rank branch whose zero bias would weigh.
//
//   %y = linear(x = %x, weight = const W [64, 64], bias = const b [64])    before
//   %h = linear(x = %x, weight = const A [2, 64], bias = const 0 [2])
//   %d = linear(x = %h, weight = const B [64, 2], bias = const 0 [64])
//   %z = add(x = %y, y = %d)
//
//   %y = linear(x = %x, weight = const W, bias = const b)                  after
//   %h = linear(x = %x, weight = const A, bias = const 0 [2])
//   %d = matmul(x = %h, y = const B, transpose_y = true)
//   %z = add(x = %y, y = %d)
//
// Core ML's linear takes a bias, so one without has zeros, stored once for each length. Beside a
// single adapter of a low rank they would be half of what is stored for it. Where the zeros of one
// length serve such pairs alone, and are more than a twelfth of their factors, they go; with them
// those of a layer that a branch is added to after a factor per feature (a DoRA). What other
// layers, norms or operations of any kind have too stays. Each function decides by itself: it is
// the same alone, beside others and when it is added to a package.
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// Zeros may be this part of the factors beside them.
constexpr uint64_t kPart = 12;

/// What makes zeros one blob in a package: their type and number.
using ZeroKey = std::pair<unsigned, int64_t>;

ZeroKey zeroKey(const TensorData &tensor) {
  return {unsigned(tensor.dtype()), tensor.numElements()};
}

/// The linears that have a zero bias, where such zeros serve nothing else.
llvm::MapVector<ZeroKey, std::vector<Op *>> findZeroBiases(Function &function) {
  llvm::MapVector<ZeroKey, std::vector<Op *>> found;
  std::vector<const Value *> others;
  llvm::DenseMap<const Value *, bool> known;
  auto isZero = [&](const Value *value) {
    auto [it, isNew] = known.try_emplace(value, false);
    if (isNew)
      it->second = isSplat(value, 0);
    return it->second;
  };
  mil::walk(function.body(), [&](Op &op) {
    for (const Operand &operand : op.operands()) {
      Value *value = operand.get();
      const TensorData *tensor = constTensor(value);
      if (!tensor || !isFloat(tensor->dtype()) || tensor->numElements() < kBlobElements)
        continue;
      if (!op.is(OpKind::linear) || value != op[linear::bias])
        others.push_back(value);
      else if (isZero(value))
        found[zeroKey(*tensor)].push_back(&op);
    }
  });
  llvm::DenseSet<ZeroKey> elsewhere;
  for (const Value *value : others)
    if (ZeroKey key = zeroKey(*constTensor(value)); found.contains(key) && isZero(value))
      elsewhere.insert(key);
  found.remove_if([&](const auto &entry) { return elsewhere.contains(entry.first); });
  return found;
}

/// The constant A of a linear that is the B of a pair: what gives its input multiplies or gathers
/// by a constant, or it is the product of two constants. Null for other linears.
const Value *otherFactor(const Op &op) {
  if (!constTensor(op[linear::weight])) // compressed
    return nullptr;
  if (constTensor(op[linear::x]))
    return op[linear::x];
  const Op *a = op[linear::x]->def();
  const Value *factor = !a                      ? nullptr
                        : a->is(OpKind::linear) ? (*a)[linear::weight]
                        : a->is(OpKind::gather) ? (*a)[gather::x]
                        : a->is(OpKind::matmul) ? (*a)[matmul::y]
                                                : nullptr;
  return constTensor(factor) ? factor : nullptr;
}

/// For the W of a DoRA, whose result times a constant is added to what a pair gives: the B of that
/// pair. Null for other linears.
const Op *branchBeside(const Op &op) {
  const Value *y = op.result();
  if (!constTensor(op[linear::weight]) || !y->hasOneUse())
    return nullptr;
  const Op *product = (*y->uses().begin()).owner();
  if (!product->is(OpKind::mul) || !product->result()->hasOneUse() ||
      !(constTensor((*product)[mul::x]) || constTensor((*product)[mul::y])))
    return nullptr;
  const Op *sum = (*product->result()->uses().begin()).owner();
  if (!sum->is(OpKind::add))
    return nullptr;
  const Value *other = (*sum)[(*sum)[add::x] == product->result() ? add::y : add::x];
  const Op *branch = definedBy(other, OpKind::linear);
  return branch && otherFactor(*branch) ? branch : nullptr;
}

/// Whether the zeros serve low-rank branches alone and are much beside them.
bool weighs(llvm::ArrayRef<Op *> linears) {
  uint64_t factors = 0;
  llvm::DenseSet<const Value *> seen;
  for (const Op *op : linears) {
    const Op *b = otherFactor(*op) ? op : branchBeside(*op);
    if (!b || (*op)[linear::x]->type.rank() < 2)
      return false;
    for (const Value *factor : {otherFactor(*b), static_cast<const Value *>((*b)[linear::weight])})
      if (seen.insert(factor).second)
        factors += constTensor(factor)->byteSize();
  }
  return constTensor((*linears[0])[linear::bias])->byteSize() * kPart > factors;
}

void drop(Op *op) {
  replaceOp(op, Builder::before(op).emit(OpKind::matmul,
                                         {{matmul::x, (*op)[linear::x]},
                                          {matmul::y, (*op)[linear::weight]},
                                          {matmul::transpose_y, true}},
                                         op->name));
}

} // namespace

bool dropZeroBias(Program &program, PassContext &) {
  bool changed = false;
  for (const auto &function : program.functions())
    for (const auto &[key, linears] : findZeroBiases(*function))
      if (weighs(linears)) {
        llvm::for_each(linears, drop);
        changed = true;
      }
  return changed;
}

} // namespace plait::passes
