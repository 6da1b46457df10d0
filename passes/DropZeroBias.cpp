// drop-zero-bias: makes matmul of linears whose zero bias would weigh in a variant of a function.
//
//   %y = linear(x = %x, weight = const W [64, 64], bias = const b [64])    before: W and b are
//   %h = linear(x = %x, weight = const A [2, 64], bias = const 0 [2])      another function's too
//   %d = linear(x = %h, weight = const B [64, 2], bias = const 0 [64])
//
//   %y = linear(x = %x, weight = const W, bias = const b)                  after
//   %h = linear(x = %x, weight = const A, bias = const 0 [2])
//   %d = matmul(x = %h, y = const B, transpose_y = true)
//
// Core ML's linear takes a bias, so one without has zeros, stored once for each length. In a
// variant, a function that shares a good part of its weights, they may be most of what it has of
// its own: next to a single adapter of a low rank, say. While they are more than a twelfth of that,
// the linears with the longest of them are written as multiplications. Elsewhere a zero bias is no
// matter of size.
#include "passes/Match.h"
#include "passes/Rewrite.h"
#include "passes/Sharing.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// The zeros of one length and type, and the linears that have them.
struct ZeroBias {
  Function *function = nullptr;
  bool several = false; ///< functions
  std::vector<Op *> linears;

  const TensorData &tensor() const { return *constTensor((*linears[0])[linear::bias]); }
};

/// By type and length.
using ZeroBiases = llvm::MapVector<std::pair<unsigned, int64_t>, ZeroBias>;

ZeroBiases findZeroBiases(Program &program) {
  ZeroBiases found;
  llvm::DenseMap<const Value *, bool> isZero;
  walk(program, [&](Op &op) {
    Value *bias = op.is(OpKind::linear) ? op[linear::bias] : nullptr;
    const TensorData *tensor = constTensor(bias);
    if (!tensor || !isFloat(tensor->dtype()) || tensor->numElements() < 10)
      return;
    auto [it, isNew] = isZero.try_emplace(bias, false);
    if (isNew)
      it->second = isSplat(bias, 0);
    if (!it->second)
      return;
    ZeroBias &zero = found[{unsigned(tensor->dtype()), tensor->numElements()}];
    zero.several |= zero.function && zero.function != op.function();
    zero.function = op.function();
    zero.linears.push_back(&op);
  });
  return found;
}

/// The bytes of a function's weights, each once.
struct Weights {
  uint64_t own = 0, shared = 0;
};

Weights weigh(Function &function, Sharing &sharing) {
  Weights weights;
  llvm::DenseSet<uint64_t> seen;
  mil::walk(function.body(), [&](Op &op) {
    const TensorData *tensor = op.is(OpKind::const_) ? op.val().tensor() : nullptr;
    if (!tensor || tensor->numElements() < 10)
      return;
    uint64_t key = sharing.key(*tensor);
    if (seen.insert(key).second)
      (sharing.usedElsewhere(key, &function) ? weights.shared : weights.own) += tensor->byteSize();
  });
  return weights;
}

/// Whether all its linears may be matmuls.
bool mayDrop(const ZeroBias &zero) {
  return llvm::all_of(zero.linears, [&](const Op *op) {
    return constTensor((*op)[linear::weight]) && (*op)[linear::x]->type.rank() > 1 &&
           (*op)[linear::x]->type.dtype() == zero.tensor().dtype();
  });
}

void drop(const ZeroBias &zero) {
  for (Op *op : zero.linears)
    replaceOp(op, Builder::before(op).emit(OpKind::matmul,
                                           {{matmul::x, (*op)[linear::x]},
                                            {matmul::y, (*op)[linear::weight]},
                                            {matmul::transpose_y, true}},
                                           op->name));
}

/// The zeros that are one function's own, the longest first.
bool visit(Function &function, std::vector<const ZeroBias *> zeros, Sharing &sharing) {
  auto [own, shared] = weigh(function, sharing);
  uint64_t zeroBytes = 0;
  for (const ZeroBias *zero : zeros)
    zeroBytes += zero->tensor().byteSize();
  own -= zeroBytes;
  if (own > 2 * shared)
    return false;
  llvm::stable_sort(zeros, [](const ZeroBias *a, const ZeroBias *b) {
    return a->tensor().byteSize() > b->tensor().byteSize();
  });
  bool changed = false;
  for (const ZeroBias *zero : zeros) {
    if (12 * zeroBytes <= own)
      break;
    if (!mayDrop(*zero))
      continue;
    zeroBytes -= zero->tensor().byteSize();
    drop(*zero);
    changed = true;
  }
  return changed;
}

} // namespace

bool dropZeroBias(Program &program, PassContext &context) {
  if (!context.options.share || program.functions().size() < 2)
    return false;
  ZeroBiases found = findZeroBiases(program);
  if (llvm::all_of(found, [](const auto &entry) { return entry.second.several; }))
    return false;
  Sharing sharing(program);
  llvm::MapVector<Function *, std::vector<const ZeroBias *>> zerosOf;
  for (const auto &[key, zero] : found)
    if (!zero.several && !sharing.usedElsewhere(sharing.key(zero.tensor()), zero.function))
      zerosOf[zero.function].push_back(&zero);
  bool changed = false;
  for (auto &[function, zeros] : zerosOf)
    changed |= visit(*function, std::move(zeros), sharing);
  return changed;
}

} // namespace plait::passes
