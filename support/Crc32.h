// CRC-32 as zip files have it, of pieces that are joined.
#pragma once

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>

namespace plait {

uint32_t crc32(llvm::ArrayRef<uint8_t> bytes);
/// That of two runs of bytes, one behind the other.
uint32_t joinCrc32(uint32_t first, uint32_t second, uint64_t secondSize);

} // namespace plait
