// Reading weight files, and the records that the writer puts into them.
#include "backend/WeightFile.h"
#include "mil/MappedStorage.h"

#include "llvm/Support/CheckedArithmetic.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"

using llvm::support::endian::read32le;
using llvm::support::endian::read64le;
using llvm::support::endian::write32le;
using llvm::support::endian::write64le;

namespace plait {

namespace {

constexpr uint32_t sentinel = 0xDEADBEEF;

struct CodeRow {
  uint32_t code;
  mil::DType dtype;
};
constexpr CodeRow codeTable[] = {
    {1, mil::DType::F16},  {2, mil::DType::F32},  {3, mil::DType::U8},   {4, mil::DType::I8},
    {5, mil::DType::BF16}, {6, mil::DType::I16},  {7, mil::DType::U16},  {8, mil::DType::I4},
    {9, mil::DType::U1},   {10, mil::DType::U2},  {11, mil::DType::U4},  {12, mil::DType::U3},
    {13, mil::DType::U6},  {14, mil::DType::I32}, {15, mil::DType::U32},
};

} // namespace

std::optional<uint32_t> blobCode(mil::DType dtype) {
  for (const CodeRow &row : codeTable)
    if (row.dtype == dtype)
      return row.code;
  return std::nullopt;
}

std::optional<mil::DType> blobDType(uint32_t code) {
  for (const CodeRow &row : codeTable)
    if (row.code == code)
      return row.dtype;
  return std::nullopt;
}

WeightRecord encodeWeightHeader(uint32_t count) {
  WeightRecord record{};
  write32le(&record[0], count);
  write32le(&record[4], weightFileVersion);
  return record;
}

WeightRecord encodeWeightMetadata(const WeightBlob &blob) {
  WeightRecord record{};
  write32le(&record[0], sentinel);
  write32le(&record[4], *blobCode(blob.dtype));
  write64le(&record[8], blob.byteSize);
  write64le(&record[16], blob.dataOffset);
  write64le(&record[24], blob.paddingBits);
  return record;
}

Expected<std::shared_ptr<const WeightFile>> WeightFile::open(const llvm::Twine &path) {
  auto mapped = MappedFile::open(path);
  if (!mapped)
    return mapped.takeError();
  auto result = std::make_shared<WeightFile>();
  result->file = *mapped;

  llvm::ArrayRef<uint8_t> bytes = result->file->bytes();
  if (bytes.size() < weightAlignment)
    return makeError(Code::PackageDamaged,
                     "'{0}': not a weight file: {1} bytes, shorter than its header", result->path(),
                     bytes.size());
  uint32_t version = read32le(&bytes[4]);
  if (version != weightFileVersion)
    return makeError(Code::PackageDamaged,
                     "'{0}': not a weight file of version {1}: its header says version {2}",
                     result->path(), weightFileVersion, version);
  result->blobCount = read32le(&bytes[0]);

  result->whole = mil::mappedStorage(result->file, bytes);
  return result;
}

Expected<WeightBlob> WeightFile::blobAt(uint64_t offset) const {
  llvm::ArrayRef<uint8_t> bytes = file->bytes();
  auto bad = [&]<typename... Args>(fmt::format_string<Args...> format, Args &&...args) {
    return makeError(Code::PackageDamaged, "'{0}': blob at offset {1}: {2}", path(), offset,
                     fmt::format(format, std::forward<Args>(args)...));
  };
  if (offset < weightAlignment || offset % weightAlignment != 0)
    return bad("offsets of blobs are multiples of {0} after the header", weightAlignment);
  if (offset > bytes.size() || bytes.size() - offset < weightAlignment)
    return bad("it lies beyond the end of the file ({0} bytes)", bytes.size());
  const uint8_t *record = &bytes[offset];
  if (read32le(record) != sentinel)
    return bad("no metadata record is there");

  WeightBlob blob;
  blob.metadataOffset = offset;
  uint32_t code = read32le(record + 4);
  std::optional<mil::DType> dtype = blobDType(code);
  if (!dtype)
    return bad("unknown element type {0}", code);
  blob.dtype = *dtype;
  blob.byteSize = read64le(record + 8);
  blob.dataOffset = read64le(record + 16);
  // Before there were types of a few bits the field was reserved, and whatever lay in memory was
  // written to it.
  uint64_t padding = mil::isSubByte(blob.dtype) ? read64le(record + 24) : 0;

  if (blob.dataOffset % weightAlignment != 0)
    return bad("its data is not aligned to {0} bytes", weightAlignment);
  if (blob.dataOffset > bytes.size() || bytes.size() - blob.dataOffset < blob.byteSize)
    return bad("its data ({0} bytes at {1}) ends beyond the file ({2} bytes)", blob.byteSize,
               blob.dataOffset, bytes.size());
  unsigned width = mil::bitWidth(blob.dtype);
  // The size is bounded by the file's, so that its count of bits fits.
  if (padding >= 8 || padding > blob.byteSize * 8 || (blob.byteSize * 8 - padding) % width != 0)
    return bad("{0} bytes less {1} bits of padding are no whole number of {2} elements",
               blob.byteSize, padding, mil::name(blob.dtype));
  blob.paddingBits = unsigned(padding);
  return blob;
}

Expected<WeightBlob> WeightFile::nextBlob(uint64_t &offset) const {
  Expected<WeightBlob> blob = blobAt(offset);
  if (!blob)
    return blob;
  uint64_t next = llvm::alignTo(blob->dataOffset + blob->byteSize, weightAlignment);
  if (next <= offset)
    return makeError(Code::PackageDamaged, "'{0}': blob at offset {1}: its data lies before it",
                     path(), offset);
  offset = next;
  return blob;
}

Expected<std::vector<WeightBlob>> WeightFile::blobs() const {
  std::vector<WeightBlob> result;
  uint64_t offset = weightAlignment;
  // Every blob takes 64 bytes at least; a count beyond that fails at the end of the file, before
  // memory is reserved for it.
  for (uint32_t i = 0; i < blobCount; ++i) {
    Expected<WeightBlob> blob = nextBlob(offset);
    if (!blob)
      return addContext(blob.takeError(), fmt::format("blob {0} of {1}", i, blobCount));
    result.push_back(*blob);
  }
  return result;
}

Expected<std::vector<WeightBlob>> WeightFile::blobsThrough(uint64_t metadataOffset) const {
  std::vector<WeightBlob> result;
  for (uint64_t offset = weightAlignment; offset <= metadataOffset;) {
    Expected<WeightBlob> blob = nextBlob(offset);
    if (!blob)
      return blob.takeError();
    result.push_back(*blob);
  }
  return result;
}

Expected<mil::TensorData> WeightFile::tensorAt(uint64_t offset, mil::DType dtype,
                                               llvm::ArrayRef<int64_t> shape) const {
  Expected<WeightBlob> blob = blobAt(offset);
  if (!blob)
    return blob.takeError();
  if (blob->dtype != dtype)
    return makeError(Code::PackageDamaged,
                     "'{0}': blob at offset {1}: it holds {2}, but the model says {3}", path(),
                     offset, mil::name(blob->dtype), mil::name(dtype));
  int64_t elements = 1;
  for (int64_t dim : shape) {
    std::optional<int64_t> product = dim < 0 ? std::nullopt : llvm::checkedMul(elements, dim);
    if (!product)
      return makeError(Code::PackageDamaged,
                       "'{0}': blob at offset {1}: the model gives it an impossible shape", path(),
                       offset);
    elements = *product;
  }
  if (blob->numElements() != elements)
    return makeError(Code::PackageDamaged,
                     "'{0}': blob at offset {1}: it holds {2} elements, but the model says {3}",
                     path(), offset, blob->numElements(), elements);
  return mil::TensorData::view(whole, blob->dataOffset, dtype, shape, {},
                               mil::isFloat(dtype) ? mil::Origin::unnamed() : mil::Origin());
}

} // namespace plait
