// Views behind trees of transforms, compared without reading.
#include "backend/ComparableViews.h"

#include "mil/Concatenation.h"

#include "llvm/ADT/STLExtras.h"
#include <cstring>

namespace plait {

using mil::TensorData;

std::optional<std::pair<TensorData, TensorData>> comparableLeaves(TensorData a, TensorData b,
                                                                  bool &exact) {
  exact = true;
  while (a.kind() == b.kind() && a.dtype() == b.dtype()) {
    switch (a.kind()) {
    case TensorData::Kind::Strided:
      if (a.node().shape != b.node().shape || a.node().strides != b.node().strides ||
          mil::isSubByte(a.dtype()))
        return std::nullopt;
      return std::pair(a, b);
    case TensorData::Kind::Scale:
      if (a.node().factor != b.node().factor)
        return std::nullopt;
      exact = false;
      break;
    case TensorData::Kind::Cast:
      exact = false;
      break;
    default:
      return std::nullopt;
    }
    // Copies first: assigning to `a` may free the node that the input lives in.
    TensorData nextA = a.node().inputs[0], nextB = b.node().inputs[0];
    a = std::move(nextA);
    b = std::move(nextB);
  }
  return std::nullopt;
}

llvm::ArrayRef<uint8_t> extent(const TensorData &view) {
  const TensorData::Node &node = view.node();
  int64_t last = 0;
  for (auto [size, stride] : llvm::zip(node.shape, node.strides)) {
    if (size == 0)
      return {};
    last += (size - 1) * stride;
  }
  return node.storage->bytes.slice(node.byteOffset, mil::byteSize(node.dtype, last + 1));
}

bool knownEqual(const TensorData &a, const TensorData &b, uint64_t begin, uint64_t size) {
  const TensorData::Node &x = a.node(), &y = b.node();
  return x.byteOffset == y.byteOffset &&
         x.storage->knownEqual(*y.storage, x.byteOffset + begin, size);
}

/// The concatenations below the casts and factors that two trees have alike.
static std::optional<std::pair<mil::Concatenation, mil::Concatenation>>
concatenations(const TensorData &a, const TensorData &b) {
  const TensorData::Node *x = &a.node(), *y = &b.node();
  while (x->kind == y->kind && x->dtype == y->dtype &&
         (x->kind == TensorData::Kind::Cast ||
          (x->kind == TensorData::Kind::Scale && x->factor == y->factor))) {
    x = &x->inputs[0].node();
    y = &y->inputs[0].node();
  }
  auto one = concatenationOf(*x), other = concatenationOf(*y);
  if (!one || !other || one->axis != other->axis || x->dtype != y->dtype ||
      !llvm::equal(one->parts, other->parts, [](const TensorData *part, const TensorData *same) {
        return part->shape() == same->shape();
      }))
    return std::nullopt;
  return std::pair(std::move(*one), std::move(*other));
}

ViewProof compareViews(const TensorData &a, const TensorData &b, int64_t begin, int64_t count) {
  bool exact;
  if (auto leaves = comparableLeaves(a, b, exact);
      leaves && !leaves->first.contiguousBytes().empty()) {
    mil::DType dtype = leaves->first.dtype();
    uint64_t first = mil::byteSize(dtype, begin), size = mil::byteSize(dtype, count);
    if (knownEqual(leaves->first, leaves->second, first, size))
      return ViewProof::Known;
    bool equal = std::memcmp(leaves->first.contiguousBytes().data() + first,
                             leaves->second.contiguousBytes().data() + first, size) == 0;
    return equal ? ViewProof::Equal : ViewProof::None;
  }
  auto whole = concatenations(a, b);
  if (!whole)
    return ViewProof::None;
  ViewProof all = ViewProof::Known;
  const auto &parts = whole->first.parts, &others = whole->second.parts;
  whole->first.forEachRun(a.shape(), begin, count,
                          [&](const TensorData &part, int64_t from, int64_t, int64_t run) {
                            size_t number = size_t(llvm::find(parts, &part) - parts.begin());
                            if (all != ViewProof::None)
                              all = std::min(all, compareViews(part, *others[number], from, run));
                          });
  return all;
}

bool differByChecksum(const TensorData &a, const TensorData &b) {
  bool exact;
  auto leaves = comparableLeaves(a, b, exact);
  if (!leaves || !exact)
    return false;
  std::optional<uint32_t> crcA = leaves->first.crc(), crcB = leaves->second.crc();
  return crcA && crcB && *crcA != *crcB;
}

} // namespace plait
