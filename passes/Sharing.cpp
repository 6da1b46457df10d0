// Content keys and the index of uses.
#include "passes/Sharing.h"

#include "passes/Constants.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/xxhash.h"

#include <cstring>

namespace plait::passes {

using namespace mil;

/// Piece by piece, so that it can be ended.
static bool equalBytes(llvm::ArrayRef<uint8_t> a, llvm::ArrayRef<uint8_t> b) {
  constexpr size_t piece = 16 << 20;
  if (a.size() != b.size())
    return false;
  for (size_t begin = 0; begin < a.size(); begin += piece) {
    mayGoOn();
    size_t size = std::min(piece, a.size() - begin);
    if (std::memcmp(a.data() + begin, b.data() + begin, size) != 0)
      return false;
  }
  return true;
}

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

/// Of some bytes all over; of all where they are few.
static uint64_t lookAt(llvm::ArrayRef<uint8_t> bytes) {
  constexpr size_t runs = 32, length = 64;
  if (bytes.size() <= runs * length)
    return llvm::xxh3_64bits(bytes);
  uint8_t seen[runs * length];
  for (size_t run = 0; run < runs; ++run) {
    size_t begin = (bytes.size() - length) / (runs - 1) * run;
    std::memcpy(seen + run * length, bytes.data() + begin, length);
  }
  return llvm::hash_combine(bytes.size(), llvm::xxh3_64bits(llvm::ArrayRef(seen)));
}

uint64_t ContentKeys::keyOf(const Storage &storage) {
  if (storage.crc)
    return llvm::hash_combine(*storage.crc, storage.bytes.size());
  uint64_t look = lookAt(storage.bytes);
  auto &alike = alike_[look];
  auto found = llvm::find_if(alike, [&](const Storage *other) {
    return storage.knownEqual(*other, 0, storage.bytes.size()) ||
           equalBytes(storage.bytes, other->bytes);
  });
  size_t index = size_t(found - alike.begin());
  if (found == alike.end())
    alike.push_back(&storage);
  return llvm::hash_combine(look, index);
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
    auto known = storages_.find(storage);
    if (known == storages_.end())
      known = storages_.try_emplace(storage, keyOf(*storage)).first;
    hash = llvm::hash_combine(hash, known->second, node.byteOffset);
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

uint64_t WeightChanges::add(const TensorData &weight, uint64_t hash) {
  uint64_t key = sharing_.key(weight);
  Group &group = groups_[key];
  group.alike &= !group.count || group.hash == hash;
  group.hash = hash;
  ++group.count;
  return key;
}

bool WeightChanges::keepShared(uint64_t key) const {
  Group group = groups_.lookup(key);
  return group.alike && group.count >= sharing_.uses(key);
}

} // namespace plait::passes
