// libdeflate packs in one go.
#include "support/Deflate.h"

#include <libdeflate.h>

#include <memory>

namespace plait {

std::vector<uint8_t> deflate(llvm::ArrayRef<uint8_t> bytes) {
  std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
      libdeflate_alloc_compressor(/*compression_level=*/7), libdeflate_free_compressor);
  std::vector<uint8_t> packed(bytes.size());
  // Without room for more than it is given it says 0 where nothing is gained.
  size_t size = compressor ? libdeflate_deflate_compress(compressor.get(), bytes.data(),
                                                         bytes.size(), packed.data(), packed.size())
                           : 0;
  packed.resize(size);
  return packed;
}

} // namespace plait
