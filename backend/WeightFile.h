// The weight file of a package, `weights/weight.bin`. Little endian.
//
//   file     := header (pad64 blob)*
//   header   := count:u32 version:u32(=2) zero[56]                          64 bytes
//   blob     := metadata data
//   metadata := 0xDEADBEEF:u32 code:u32 bytes:u64 data:u64 padding:u64 zero[32]   64 bytes
//   pad64    := zeros up to the next multiple of 64
//
// `count` is the number of blobs. `code` is the element type (blobCode below), `bytes` the size of
// the data, `data` its offset in the file, a multiple of 64. Sub-byte types are packed from the low
// bits of each byte; `padding` counts the unused high bits of the last byte and is 0 for other
// types. Other writers left anything where this says zero, and nothing of it is read. A MIL value
// refers to a blob by the offset of its metadata. No shape is stored.
#pragma once

#include "mil/Attr.h"
#include "support/MappedFile.h"

#include <array>

namespace plait {

inline constexpr uint64_t weightAlignment = 64;
inline constexpr uint32_t weightFileVersion = 2;

/// The element type's code in a weight file; nullopt for types that cannot be blobs (bool, string,
/// fp64, 64-bit integers).
std::optional<uint32_t> blobCode(mil::DType dtype);
/// The inverse of blobCode().
std::optional<mil::DType> blobDType(uint32_t code);

/// One blob: what its metadata record says.
struct WeightBlob {
  mil::DType dtype = mil::DType::F16;
  uint64_t metadataOffset = 0; ///< in the file, a multiple of 64
  uint64_t dataOffset = 0;     ///< in the file, a multiple of 64
  uint64_t byteSize = 0;       ///< of the data
  unsigned paddingBits = 0;    ///< unused in the last byte

  int64_t numElements() const {
    return int64_t((byteSize * 8 - paddingBits) / mil::bitWidth(dtype));
  }
};

using WeightRecord = std::array<uint8_t, weightAlignment>;
/// The first 64 bytes of a file of `count` blobs.
WeightRecord encodeWeightHeader(uint32_t count);
/// The metadata record of `blob`.
WeightRecord encodeWeightMetadata(const WeightBlob &blob);

/// A mapped weight file. Every offset and length is checked before it is used.
class WeightFile {
public:
  /// Maps the file and checks its header.
  static Expected<std::shared_ptr<const WeightFile>> open(const llvm::Twine &path);

  llvm::StringRef path() const { return file->path(); }
  uint64_t fileBytes() const { return file->bytes().size(); }
  /// The number of blobs that the header states.
  uint32_t count() const { return blobCount; }

  /// The blob whose metadata record is at `metadataOffset`.
  Expected<WeightBlob> blobAt(uint64_t metadataOffset) const;
  /// All blobs in file order, following one another.
  Expected<std::vector<WeightBlob>> blobs() const;
  /// The blobs up to the one at `metadataOffset`, whatever the header counts. Nothing behind it is
  /// looked at. If there is none at that place, the blobs before it.
  Expected<std::vector<WeightBlob>> blobsThrough(uint64_t metadataOffset) const;

  /// The blob at `metadataOffset` as a tensor over the mapping, without a copy; its element type
  /// and size must be those of `dtype` and `shape`. Two tensors of one blob have one storage and
  /// equal trees.
  Expected<mil::TensorData> tensorAt(uint64_t metadataOffset, mil::DType dtype,
                                     llvm::ArrayRef<int64_t> shape) const;

  /// The storage of all tensors: the whole file.
  const std::shared_ptr<const mil::Storage> &storage() const { return whole; }

private:
  /// The blob at `offset`, which moves to where the next one begins.
  Expected<WeightBlob> nextBlob(uint64_t &offset) const;

  std::shared_ptr<const MappedFile> file;
  std::shared_ptr<const mil::Storage> whole;
  uint32_t blobCount = 0;
};

} // namespace plait
