// The operations of a pickle, one by one, and how deep its values may nest. Whoever reads pickles
// shares this: PickleCheck, which looks before LibTorch does, and TensorPickle, which builds the
// values itself.
//
//   pickle   := op* '.'
//   op       := code argument
//   argument := nothing | 1, 2, 4 or 8 bytes | u8 or u32 or u64 length, then that many bytes | two
//   lines
#pragma once

#include "support/Error.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"

#include <optional>

namespace plait {

struct PickleOperation {
  char code;
  llvm::StringRef argument; ///< whole
  llvm::StringRef body;     ///< of an argument with a length: what is behind that
};

/// Goes through a pickle of protocol 2 and the later operations that LibTorch reads.
class PickleOperations {
public:
  explicit PickleOperations(llvm::StringRef pickle) : pickle_(pickle) {}

  /// The next operation; none at the end, at STOP and at an operation that is not known. An error
  /// if it claims more bytes than follow.
  Expected<std::optional<PickleOperation>> next();

  /// The operation behind the last one of next(), where that gave none; nothing at the end.
  llvm::StringRef rest() const { return pickle_.drop_front(end_); }
  size_t position() const { return position_; } ///< of the operation that next() gave

  /// An error that names the operation.
  Error damaged(const char *how) const;

private:
  llvm::StringRef pickle_;
  size_t position_ = 0, end_ = 0;
};

uint64_t littleEndian(llvm::StringRef bytes);

/// Of a hundred bytes or more each, and of sixteen.
inline constexpr size_t maxPickledContainers = size_t(1) << 22, maxPickledValues = size_t(1) << 25;
Error tooManyPickledValues();
/// Whoever writes pickles counts the values that it remembers.
inline bool isMemoSlot(uint64_t slot, size_t pushed) {
  return slot <= std::max<uint64_t>(pushed, UINT8_MAX);
}

/// An error where one of `count` containers holds itself, or holds containers too deep.
/// `nextInner` gives the first container that one holds at or behind its element `next`, and moves
/// `next` behind it.
Error checkPickledNesting(
    uint32_t count,
    llvm::function_ref<std::optional<uint32_t>(uint32_t container, size_t &next)> nextInner);

} // namespace plait
