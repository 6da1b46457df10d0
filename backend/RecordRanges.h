// The checksums of a model file's records, as the writer passes over their bytes. Private to the
// backend.
#pragma once

#include "mil/Concatenation.h"
#include "mil/RecordChecksum.h"

#include "llvm/ADT/STLExtras.h"

namespace plait {

/// Where the elements [begin, begin + count) of a tensor lie in records, if they do in that order
/// and the records' checksums are looked at: one range, or one for each part of a concatenation.
class RecordRanges {
public:
  RecordRanges(const mil::TensorData &tensor, int64_t begin, int64_t count) {
    add(tensor, begin, count);
  }

  /// While the bytes are at hand. The CRC-32 where there is one range.
  std::optional<uint32_t> see() const {
    std::optional<uint32_t> crc;
    for (const Range &range : ranges_)
      crc = range.checksum->see(range.offset, range.size);
    return ranges_.size() == 1 ? crc : std::nullopt;
  }
  /// They are those of a range of the same size with this CRC-32, where it is known.
  void seeEqual(std::optional<uint32_t> crc) const {
    if (ranges_.size() == 1 && crc)
      ranges_[0].checksum->seeEqual(ranges_[0].offset, ranges_[0].size, *crc);
    else
      see();
  }

private:
  struct Range {
    mil::RecordChecksum *checksum;
    uint64_t offset, size;
  };

  void add(const mil::TensorData &tensor, int64_t begin, int64_t count) {
    const mil::TensorData *leaf = &tensor;
    while (llvm::is_contained({mil::TensorData::Kind::Cast, mil::TensorData::Kind::Scale,
                               mil::TensorData::Kind::Reshape, mil::TensorData::Kind::LoraMerge},
                              leaf->kind()))
      leaf = &leaf->node().inputs[0];
    if (auto whole = mil::concatenationOf(leaf->node()))
      return whole->forEachRun(leaf->shape(), begin, count,
                               [&](const mil::TensorData &part, int64_t from, int64_t,
                                   int64_t run) { add(part, from, run); });
    if (leaf->kind() != mil::TensorData::Kind::Strided || !leaf->node().storage->checksum ||
        leaf->contiguousBytes().empty())
      return;
    ranges_.push_back({leaf->node().storage->checksum.get(),
                       leaf->node().byteOffset + mil::byteSize(leaf->dtype(), begin),
                       mil::byteSize(leaf->dtype(), count)});
  }

  llvm::SmallVector<Range, 1> ranges_;
};

} // namespace plait
