// Packing, and the choice between memory and a file.
#include "compress/CodeSink.h"

#include "mil/MappedStorage.h"

namespace plait::compress {

using mil::DType;
using mil::TensorData;

/// Tensors of fewer bytes stay in memory.
static constexpr uint64_t kFileBytes = 1 << 18;
static constexpr size_t kPieceBytes = 1 << 20;

Expected<CodeSink> CodeSink::create(DType dtype, int64_t count, llvm::StringRef target) {
  CodeSink sink(dtype);
  if (mil::byteSize(dtype, count) >= kFileBytes) {
    auto file = ScratchFile::create(target);
    if (!file)
      return file.takeError();
    sink.file_.emplace(std::move(*file));
  }
  return sink;
}

Error CodeSink::append(llvm::ArrayRef<uint8_t> codes) {
  unsigned width = mil::bitWidth(dtype_);
  if (width >= 8) {
    bytes_.insert(bytes_.end(), codes.begin(), codes.end());
    count_ += int64_t(codes.size() / (width / 8));
  } else {
    uint64_t pending = pending_;
    unsigned bits = pendingBits_, mask = (1u << width) - 1;
    size_t at = bytes_.size();
    bytes_.resize(at + (codes.size() * width + bits) / 8);
    for (uint8_t code : codes) {
      pending |= uint64_t(code & mask) << bits;
      bits += width;
      if (bits >= 32) {
        for (unsigned i = 0; i < 4; ++i)
          bytes_[at++] = uint8_t(pending >> (8 * i));
        pending >>= 32;
        bits -= 32;
      }
    }
    for (; bits >= 8; bits -= 8, pending >>= 8)
      bytes_[at++] = uint8_t(pending);
    pending_ = pending;
    pendingBits_ = bits;
    count_ += int64_t(codes.size());
  }
  return file_ && bytes_.size() >= kPieceBytes ? flush() : Error::success();
}

Error CodeSink::flush() {
  Error error = file_->append(bytes_);
  bytes_.clear();
  return error;
}

Expected<TensorData> CodeSink::finish(llvm::ArrayRef<int64_t> shape) {
  if (pendingBits_)
    bytes_.push_back(uint8_t(pending_));
  pendingBits_ = 0;
  if (!file_)
    return TensorData::fromBytes(dtype_, shape, std::move(bytes_));
  if (Error error = flush())
    return error;
  auto mapped = file_->map();
  if (!mapped)
    return mapped.takeError();
  llvm::ArrayRef<uint8_t> bytes = (*mapped)->bytes();
  return TensorData::view(mil::mappedStorage(*mapped, bytes), 0, dtype_, shape);
}

} // namespace plait::compress
