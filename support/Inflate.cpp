// libdeflate unpacks in one go into memory of the final size.
#include "support/Inflate.h"

#include <libdeflate.h>

#include <memory>

namespace plait {

Expected<std::vector<uint8_t>> inflate(llvm::ArrayRef<uint8_t> packed, size_t size) {
  std::unique_ptr<libdeflate_decompressor, decltype(&libdeflate_free_decompressor)> decompressor(
      libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
  if (!decompressor)
    return makeError(Code::TooLarge, "out of memory");
  std::vector<uint8_t> bytes(size);
  // Without a place for the number of bytes, any other number than `size` is an error.
  if (libdeflate_deflate_decompress(decompressor.get(), packed.data(), packed.size(), bytes.data(),
                                    size, nullptr) != LIBDEFLATE_SUCCESS)
    return makeError(Code::ArchiveDamaged, "it does not unpack to the {0} bytes that it claims",
                     size);
  return bytes;
}

} // namespace plait
