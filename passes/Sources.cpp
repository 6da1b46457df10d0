// Counting what constants are computed from.
#include "passes/Sources.h"

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

/// Whether the elements are not all whole, as positions, counts and masks are.
static bool haveFractions(const TensorData &tensor) {
  auto values = tensor.floatValues();
  if (!values) {
    llvm::consumeError(values.takeError());
    return true;
  }
  return llvm::any_of(*values, [](double value) { return value != std::floor(value); });
}

/// Reads neither computed constants nor what is large.
Sources::Kind Sources::kindOf(const TensorData &tensor, bool literal) {
  const TensorData::Node &leaf = leafOf(tensor);
  bool repeatsOne = leaf.kind == TensorData::Kind::Strided &&
                    llvm::all_of(llvm::zip(leaf.shape, leaf.strides), [](auto axis) {
                      return std::get<0>(axis) == 1 || std::get<1>(axis) == 0;
                    });
  if (repeatsOne || tensor.numElements() == 1 || isIdentityMatrix(tensor))
    return Kind::Fill;
  bool mayRead = leaf.kind == TensorData::Kind::Strided && tensor.byteSize() <= kSmallBytes;
  if (mayRead && splatValue(tensor))
    return Kind::Fill;
  if (literal || !isFloat(leaf.dtype))
    return Kind::Numbers;
  return !mayRead || haveFractions(tensor) ? Kind::Weight : Kind::Numbers;
}

Sources::Kind Sources::Source::kind() const {
  if (!known)
    known = kindOf(tensor, literal);
  return *known;
}

void Sources::add(Source source) {
  auto isSame = [&leaf = leafOf(source.tensor)](const Source &one) {
    const TensorData::Node &other = leafOf(one.tensor);
    return &leaf == &other ||
           (leaf.storage && leaf.storage == other.storage && leaf.byteOffset == other.byteOffset);
  };
  auto found = llvm::find_if(sources_, isSame);
  if (found == sources_.end())
    sources_.push_back(std::move(source));
  else if (found->tensor.byteSize() < source.tensor.byteSize())
    *found = std::move(source);
}

void Sources::add(const TensorData &tensor, bool literal) { add(Source{tensor, literal, {}}); }

void Sources::add(const Sources &other) {
  for (const Source &source : other.sources_)
    add(source);
}

bool Sources::haveWeights() const {
  return llvm::any_of(sources_, [](const Source &source) { return source.kind() == Kind::Weight; });
}

bool Sources::admit(const TensorData &result) const {
  int64_t elements = 0;
  uint64_t bytes = 0;
  for (const Source &source : sources_) {
    // Axes, shapes and the like hold nothing of the result.
    if (source.tensor.numElements() < kBlobElements && source.kind() != Kind::Weight)
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
    if (source.kind() == Kind::Weight)
      ++weights;
    else if (source.kind() == Kind::Numbers && source.tensor.numElements() >= kBlobElements)
      otherNumbers |= isFloat(source.tensor.dtype());
  // One weight spread over numbers that are none is a table, such as the angles of positions.
  return weights == 0 || (weights == 1 && otherNumbers);
}

} // namespace plait::passes
