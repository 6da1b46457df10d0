// Counting what constants are computed from, and the pieces of weights.
#include "passes/Sources.h"

#include "passes/ConstantViews.h"
#include "passes/Match.h"
#include "passes/Rewrite.h"
#include "passes/Sharing.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

/// Tensors of fewer elements are literals in a package, which no two functions could share.
static constexpr int64_t kBlobElements = 10;

/// Trained numbers, as far as one can tell: floating, not all the same and not all whole, as
/// positions, counts and masks are.
static bool isWeight(const TensorData &tensor) {
  if (!isFloat(leafOf(tensor).dtype) || tensor.numElements() == 1 || splatValue(tensor))
    return false;
  if (leafOf(tensor).kind != TensorData::Kind::Strided || tensor.byteSize() > kSmallBytes)
    return true;
  auto values = tensor.floatValues();
  if (!values) {
    llvm::consumeError(values.takeError());
    return true;
  }
  return llvm::any_of(*values, [](double value) { return value != std::floor(value); });
}

// ---- Sources -----------------------------------------------------------------------------------

bool Sources::Source::isWeight() const { return !literal && passes::isWeight(tensor); }

void Sources::add(const TensorData &tensor, bool literal) {
  auto isSame = [&leaf = leafOf(tensor)](const Source &source) {
    const TensorData::Node &other = leafOf(source.tensor);
    return &leaf == &other ||
           (leaf.storage && leaf.storage == other.storage && leaf.byteOffset == other.byteOffset);
  };
  auto found = llvm::find_if(sources_, isSame);
  if (found == sources_.end())
    sources_.push_back({tensor, literal});
  else if (found->tensor.byteSize() < tensor.byteSize())
    found->tensor = tensor;
}

void Sources::add(const Sources &other) {
  for (const Source &source : other.sources_)
    add(source.tensor, source.literal);
  pinned_ |= other.pinned_;
}

bool Sources::haveWeights() const {
  return llvm::any_of(sources_, [](const Source &source) { return source.isWeight(); });
}

bool Sources::admit(const TensorData &result) const {
  int64_t elements = 0;
  uint64_t bytes = 0;
  if (!pinned_)
    for (const Source &source : sources_) {
      elements += source.tensor.numElements();
      bytes += source.tensor.byteSize();
    }
  if (result.byteSize() <= bytes || result.numElements() < kBlobElements)
    return true;
  if (result.byteSize() > kSmallBytes)
    return false;
  if (result.numElements() <= elements) // of a wider type
    return true;
  unsigned weights = 0;
  bool otherNumbers = false;
  for (const Source &source : sources_)
    if (source.isWeight())
      ++weights;
    else
      otherNumbers |= isFloat(source.tensor.dtype());
  // One weight spread over numbers that are none is a table, such as the angles of positions.
  return weights == 0 || (weights == 1 && otherNumbers && !pinned_);
}

// ---- Slices ------------------------------------------------------------------------------------

namespace {

bool isSlice(const Op &op) {
  return op.is(OpKind::slice_by_index) || op.is(OpKind::slice_by_size) || op.is(OpKind::split);
}

/// What is made of the constants of one content.
struct Pieces {
  std::vector<const Op *> slices;
  uint64_t bytes = 0; ///< of the pieces, equal ones once
  bool whole = false; ///< something uses the whole too
};

} // namespace

KeptSlices::KeptSlices(Program &program) {
  // Few programs slice weights: the others pay for one walk.
  std::vector<const Op *> slices;
  walk(program, [&](Op &op) {
    const TensorData *x = isSlice(op) ? constTensor(op.operands()[0]) : nullptr;
    if (x && isWeight(*x))
      slices.push_back(&op);
  });
  if (slices.empty())
    return;
  ContentKeys keys;
  llvm::MapVector<uint64_t, Pieces> weights;
  llvm::DenseSet<uint64_t> seen, sizes;
  for (const Op *op : slices) {
    const TensorData &x = *constTensor(op->operands()[0]);
    Pieces &pieces = weights[keys(x)];
    sizes.insert(x.byteSize());
    if (op->result(0)->type.shape() == x.type().shape()) {
      pieces.whole = true;
      continue;
    }
    pieces.slices.push_back(op);
    for (unsigned i = 0; i < op->numResults(); ++i)
      if (auto piece = transformed(*op, x, i);
          piece && piece->numElements() >= kBlobElements && seen.insert(keys(*piece)).second)
        pieces.bytes += piece->byteSize();
  }
  walk(program, [&](Op &op) {
    const TensorData *tensor = op.is(OpKind::const_) ? constTensor(op.result()) : nullptr;
    if (!tensor || !sizes.contains(tensor->byteSize()))
      return;
    auto found = weights.find(keys(*tensor));
    if (found != weights.end())
      for (const Operand &use : op.result()->uses())
        found->second.whole |= !isSlice(*use.owner());
  });
  for (const auto &[key, pieces] : weights) {
    if (pieces.slices.empty())
      continue;
    uint64_t whole = constTensor(pieces.slices[0]->operands()[0])->byteSize();
    if (pieces.bytes + (pieces.whole ? whole : 0) > whole)
      kept_.insert(pieces.slices.begin(), pieces.slices.end());
  }
}

} // namespace plait::passes
