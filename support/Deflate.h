// Packing bytes as records of zip files are; Inflate.h unpacks them.
#pragma once

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <vector>

namespace plait {

/// `bytes` as a raw deflate stream (RFC 1951), if that is shorter; empty where it is not.
std::vector<uint8_t> deflate(llvm::ArrayRef<uint8_t> bytes);

} // namespace plait
