// Finds what one run of bytes has of another, wherever it lies there.
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"

#include <cstdint>
#include <vector>

namespace plait::driver {

/// An index of `base`, 8 to 16 bytes for each block. Blocks of `base` are looked for in a target at
/// every multiple of `step`, and a match is extended by single bytes to both sides. So every equal
/// run of 2 * `block` bytes is found, if its places in both differ by a multiple of `step`.
class ContentMatcher {
public:
  ContentMatcher(llvm::ArrayRef<uint8_t> base, size_t block, size_t step);

  /// A run of the target: `base` bytes from `place` on, or (copied is false) bytes of its own.
  struct Run {
    bool copied;
    uint64_t place; ///< in base, or in the target
    uint64_t bytes;
  };
  /// Cuts `target` into runs, in order.
  void match(llvm::ArrayRef<uint8_t> target, llvm::function_ref<void(Run)> emit) const;

private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t block = 0; ///< from 1; 0: the slot is empty
  };
  /// The place in base of a block with the bytes of `block`; -1 where there is none.
  int64_t find(llvm::ArrayRef<uint8_t> block) const;

  llvm::ArrayRef<uint8_t> base_;
  size_t block_, step_;
  std::vector<Slot> slots_; ///< a power of two, open addressing
};

} // namespace plait::driver
