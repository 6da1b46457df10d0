// Views behind trees of transforms, compared without reading.
#include "backend/ComparableViews.h"

#include "llvm/ADT/STLExtras.h"

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

bool differByChecksum(const TensorData &a, const TensorData &b) {
  bool exact;
  auto leaves = comparableLeaves(a, b, exact);
  if (!leaves || !exact)
    return false;
  std::optional<uint32_t> crcA = leaves->first.crc(), crcB = leaves->second.crc();
  return crcA && crcB && *crcA != *crcB;
}

} // namespace plait
