// Counting what constants are computed from.
#include "passes/ConstantSources.h"

#include "mil/IdentityMatrix.h"
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

/// Parameters of integers are positions, shapes and the like.
static bool isTrained(const TensorData &tensor) {
  bool found = false;
  forEachLeaf(tensor,
              [&](const TensorData::Node &leaf) { found |= leaf.origin && isFloat(leaf.dtype); });
  return found;
}

/// Literals that are more than one number: positions, masks and the like. An identity matrix says
/// no more than its size does.
static bool areNumbers(const TensorData &tensor) {
  return isFloat(tensor.dtype()) && tensor.numElements() >= kBlobElements && !isTrained(tensor) &&
         !isIdentityMatrix(tensor) && !splatValue(tensor);
}

void ConstantSources::add(const TensorData &tensor) {
  auto isSame = [&leaf = leafOf(tensor)](const TensorData &one) {
    const TensorData::Node &other = leafOf(one);
    return &leaf == &other ||
           (leaf.storage && leaf.storage == other.storage && leaf.byteOffset == other.byteOffset);
  };
  auto found = llvm::find_if(sources_, isSame);
  if (found == sources_.end())
    sources_.push_back(tensor);
  else if (found->byteSize() < tensor.byteSize())
    *found = tensor;
}

void ConstantSources::add(const ConstantSources &other) {
  for (const TensorData &source : other.sources_)
    add(source);
}

bool ConstantSources::admit(const TensorData &result) const {
  int64_t elements = 0;
  uint64_t bytes = 0;
  for (const TensorData &source : sources_) {
    // Axes, shapes and the like hold nothing of the result.
    if (source.numElements() < kBlobElements && !isTrained(source))
      continue;
    elements += source.numElements();
    bytes += source.byteSize();
  }
  if (result.byteSize() <= bytes || result.numElements() < kBlobElements)
    return true;
  if (result.byteSize() > kSmallBytes)
    return false;
  if (result.numElements() <= elements) // of a wider type
    return true;
  // One weight spread over numbers that are none is a table, such as the angles of positions.
  int64_t weights = llvm::count_if(sources_, isTrained);
  return weights == 0 || (weights == 1 && llvm::any_of(sources_, areNumbers));
}

} // namespace plait::passes
