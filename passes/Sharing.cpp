// Content keys and the index of uses.
#include "passes/Sharing.h"

#include "passes/Constants.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/Hashing.h"
#include "llvm/Support/xxhash.h"

namespace plait::passes {

using namespace mil;

uint64_t ContentKeys::operator()(const Attr &attr) {
  if (const TensorData *tensor = attr.tensor())
    return (*this)(*tensor);
  uint64_t hash = 1;
  if (const auto *strings = attr.strings())
    for (const std::string &text : *strings)
      hash = llvm::hash_combine(hash, llvm::xxh3_64bits(text));
  if (const auto *elements = attr.elements())
    for (const Attr &element : *elements)
      hash = llvm::hash_combine(hash, (*this)(element));
  return hash;
}

/// What is only rounded to half, as autocast does it: the same weight in a package of half
/// precision. Null for anything else.
static const TensorData *roundedToHalf(const TensorData &tensor) {
  auto isCast = [](const TensorData &tree, DType dtype) {
    return tree.kind() == TensorData::Kind::Cast && tree.dtype() == dtype;
  };
  if (!isCast(tensor, DType::F32) || !isCast(tensor.node().inputs[0], DType::F16))
    return nullptr;
  const TensorData &wide = tensor.node().inputs[0].node().inputs[0];
  return wide.dtype() == DType::F32 ? &wide : nullptr;
}

uint64_t ContentKeys::operator()(const TensorData &tensor) {
  if (precision_ == Precision::F16)
    if (const TensorData *wide = roundedToHalf(tensor))
      return (*this)(*wide);
  const TensorData::Node &node = tensor.node();
  if (auto it = nodes_.find(&node); it != nodes_.end())
    return it->second.second;
  uint64_t hash =
      llvm::hash_combine(unsigned(node.kind), unsigned(node.dtype),
                         llvm::hash_combine_range(node.shape.begin(), node.shape.end()),
                         llvm::hash_combine_range(node.strides.begin(), node.strides.end()),
                         llvm::hash_combine_range(node.perm.begin(), node.perm.end()),
                         llvm::bit_cast<uint64_t>(node.factor), unsigned(node.op), node.index);
  if (const Storage *storage = node.storage.get()) {
    uint64_t &bytes = storages_[storage];
    if (!bytes)
      bytes = storage->crc ? llvm::hash_combine(*storage->crc, storage->bytes.size())
                           : llvm::hash_combine(llvm::xxh3_64bits(storage->bytes));
    hash = llvm::hash_combine(hash, bytes, node.byteOffset);
  }
  for (const TensorData &input : node.inputs)
    hash = llvm::hash_combine(hash, (*this)(input));
  for (const auto &operand : node.operands) {
    hash = llvm::hash_combine(hash, operand.size());
    for (const Attr &attr : operand)
      hash = llvm::hash_combine(hash, (*this)(attr));
  }
  // The two values that a dense map of keys keeps for itself.
  hash &= ~uint64_t(0) >> 2;
  nodes_[&node] = {tensor, hash};
  return hash;
}

Sharing::Sharing(Program &program, Precision precision) : keys_(precision) {
  walk(program, [&](Op &op) {
    const Attr *attr = op.is(OpKind::const_) ? &op.val() : nullptr;
    const TensorData *tensor = attr ? attr->tensor() : nullptr;
    // Scalars and short vectors are immediate in a package: nothing to share.
    if (!tensor || tensor->numElements() < kBlobElements)
      return;
    Uses &uses = uses_[keys_(*tensor)];
    for (Operand &use : op.result()->uses()) {
      (void)use;
      ++uses.count;
    }
    if (uses.first && uses.first != op.function())
      uses.several = true;
    uses.first = op.function();
  });
}

bool Sharing::usedElsewhere(uint64_t key, const Function *function) const {
  Uses uses = uses_.lookup(key);
  return uses.several || (uses.first && uses.first != function);
}

bool Sharing::isPrivate(const Value *constant) {
  const TensorData *tensor = constTensor(constant);
  if (!tensor)
    return false;
  return tensor->numElements() < kBlobElements ? constant->hasOneUse() : uses(key(*tensor)) <= 1;
}

} // namespace plait::passes
