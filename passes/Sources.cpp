// Counting what constants are computed from.
#include "passes/Sources.h"

#include "passes/Match.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

const TensorData::Node &leafOf(const TensorData &tensor) {
  const TensorData::Node *node = &tensor.node();
  while (node->inputs.size() == 1)
    node = &node->inputs[0].node();
  return *node;
}

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
}

bool Sources::haveWeights() const {
  return llvm::any_of(sources_, [](const Source &source) { return source.isWeight(); });
}

bool Sources::admit(const TensorData &result) const {
  int64_t elements = 0;
  uint64_t bytes = 0;
  for (const Source &source : sources_) {
    // Axes, shapes and the like hold nothing of the result.
    if (source.tensor.numElements() < kBlobElements && !source.isWeight())
      continue;
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
  return weights == 0 || (weights == 1 && otherNumbers);
}

} // namespace plait::passes
