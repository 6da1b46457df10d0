// Unpacking what is deflated, as records of zip files are.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/ArrayRef.h"

#include <vector>

namespace plait {

/// Exactly `size` bytes; an error where `packed` gives more or fewer, or is damaged.
Expected<std::vector<uint8_t>> inflate(llvm::ArrayRef<uint8_t> packed, size_t size);

} // namespace plait
