// Writing patches.
#include "driver/patch/PatchFile.h"
#include "support/Deflate.h"

#include "llvm/Support/Endian.h"
#include "llvm/Support/LEB128.h"

namespace plait::driver {

static void appendUint(std::vector<uint8_t> &bytes, uint64_t value) {
  uint8_t encoded[10];
  unsigned count = llvm::encodeULEB128(value, encoded);
  bytes.insert(bytes.end(), encoded, encoded + count);
}

static void appendFiles(std::vector<uint8_t> &bytes, llvm::ArrayRef<PackageFile> files) {
  appendUint(bytes, files.size());
  for (const PackageFile &file : files) {
    bytes.push_back(uint8_t(file.kind));
    if (file.kind != PackageFile::Kind::SideFile) {
      appendUint(bytes, file.path.size());
      bytes.insert(bytes.end(), file.path.begin(), file.path.end());
    }
    if (!file.hasContents())
      continue;
    appendUint(bytes, file.bytes);
    bytes.insert(bytes.end(), file.digest.begin(), file.digest.end());
  }
}

void PatchWriter::begin(llvm::ArrayRef<PackageFile> base, llvm::ArrayRef<PackageFile> result) {
  std::vector<uint8_t> bytes(patchMagic.begin(), patchMagic.end());
  bytes.resize(patchHeaderBytes);
  llvm::support::endian::write32le(&bytes[patchMagic.size()], patchVersion);
  appendFiles(bytes, base);
  appendFiles(bytes, result);
  put(bytes);
}

std::array<uint8_t, 8> PatchWriter::encodedSize() const {
  std::array<uint8_t, 8> bytes;
  llvm::support::endian::write64le(bytes.data(), size_);
  return bytes;
}

/// The longest a step is beside the bytes that it holds.
static constexpr size_t maxStepBytes = 31;

void PatchWriter::copy(size_t file, uint64_t place, uint64_t size) {
  if (frame_.size() + maxStepBytes > maxFrameBytes)
    endFrame();
  frame_.push_back(0);
  appendUint(frame_, file);
  appendUint(frame_, place);
  appendUint(frame_, size);
}

void PatchWriter::data(llvm::ArrayRef<uint8_t> bytes) {
  while (!bytes.empty()) {
    if (frame_.size() + maxStepBytes >= maxFrameBytes)
      endFrame();
    size_t count = std::min(bytes.size(), maxFrameBytes - frame_.size() - maxStepBytes);
    frame_.push_back(1);
    appendUint(frame_, count);
    frame_.insert(frame_.end(), bytes.begin(), bytes.begin() + ptrdiff_t(count));
    bytes = bytes.drop_front(count);
  }
}

void PatchWriter::endFrame() {
  if (frame_.empty())
    return;
  std::vector<uint8_t> packed = deflate(frame_);
  bool isPacked = !packed.empty() && packed.size() + 10 < frame_.size();
  std::vector<uint8_t> head{uint8_t(isPacked)};
  appendUint(head, frame_.size());
  if (isPacked)
    appendUint(head, packed.size());
  put(head);
  put(isPacked ? packed : frame_);
  frame_.clear();
}

} // namespace plait::driver
