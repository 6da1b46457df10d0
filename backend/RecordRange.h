// The checksum of a model file's record, as the writer passes over its bytes. Private to the
// backend.
#pragma once

#include "mil/RecordChecksum.h"
#include "mil/TensorData.h"

#include "llvm/ADT/STLExtras.h"

namespace plait {

/// Where the elements [begin, begin + count) of a tensor lie in a record, if they do in that order
/// and the record's checksum is looked at.
struct RecordRange {
  mil::RecordChecksum *checksum = nullptr;
  uint64_t offset = 0, size = 0;

  RecordRange(const mil::TensorData &tensor, int64_t begin, int64_t count) {
    const mil::TensorData *leaf = &tensor;
    while (llvm::is_contained({mil::TensorData::Kind::Cast, mil::TensorData::Kind::Scale,
                               mil::TensorData::Kind::Reshape, mil::TensorData::Kind::LoraMerge},
                              leaf->kind()))
      leaf = &leaf->node().inputs[0];
    if (leaf->kind() != mil::TensorData::Kind::Strided || !leaf->node().storage->checksum ||
        leaf->contiguousBytes().empty())
      return;
    checksum = leaf->node().storage->checksum.get();
    offset = leaf->node().byteOffset + mil::byteSize(leaf->dtype(), begin);
    size = mil::byteSize(leaf->dtype(), count);
  }

  /// While the bytes are at hand.
  std::optional<uint32_t> see() const {
    return checksum ? checksum->see(offset, size) : std::nullopt;
  }
  /// They are those of a range of the same size with this CRC-32, where it is known.
  void seeEqual(std::optional<uint32_t> crc) const {
    if (checksum && crc)
      checksum->seeEqual(offset, size, *crc);
    else
      see();
  }
};

} // namespace plait
