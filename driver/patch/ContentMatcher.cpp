// A hash table of the base's blocks, and a walk through the target.
#include "driver/patch/ContentMatcher.h"

#include "llvm/Support/MathExtras.h"
#include "llvm/Support/xxhash.h"

#include <cassert>
#include <cstring>

namespace plait::driver {

/// How far `a` and `b` are the same.
static size_t commonPrefix(llvm::ArrayRef<uint8_t> a, llvm::ArrayRef<uint8_t> b) {
  size_t limit = std::min(a.size(), b.size()), same = 0;
  constexpr size_t piece = 4096;
  while (limit - same >= piece && std::memcmp(a.data() + same, b.data() + same, piece) == 0)
    same += piece;
  while (same < limit && a[same] == b[same])
    ++same;
  return same;
}

ContentMatcher::ContentMatcher(llvm::ArrayRef<uint8_t> base, size_t block, size_t step)
    : base_(base), block_(block), step_(step) {
  size_t count = base.size() / block;
  assert(count < UINT32_MAX && "blocks are too short for so long a base");
  slots_.resize(llvm::PowerOf2Ceil(std::max<size_t>(count * 2, 2)));
  for (size_t i = 0; i < count; ++i) {
    llvm::ArrayRef<uint8_t> bytes = base.slice(i * block, block);
    uint64_t hash = llvm::xxh3_64bits(bytes);
    size_t at = hash & (slots_.size() - 1);
    uint32_t tag = uint32_t(hash >> 32);
    // Of blocks that are alike the first is kept: a run of them is copied from there.
    bool isKnown = false;
    while (slots_[at].block && !isKnown) {
      isKnown = slots_[at].tag == tag;
      at = (at + 1) & (slots_.size() - 1);
    }
    if (!isKnown)
      slots_[at] = {tag, uint32_t(i + 1)};
  }
}

int64_t ContentMatcher::find(llvm::ArrayRef<uint8_t> block) const {
  uint64_t hash = llvm::xxh3_64bits(block);
  uint32_t tag = uint32_t(hash >> 32);
  for (size_t at = hash & (slots_.size() - 1); slots_[at].block;
       at = (at + 1) & (slots_.size() - 1))
    if (slots_[at].tag == tag) {
      uint64_t place = uint64_t(slots_[at].block - 1) * block_;
      if (std::memcmp(base_.data() + place, block.data(), block_) == 0)
        return int64_t(place);
    }
  return -1;
}

void ContentMatcher::match(llvm::ArrayRef<uint8_t> target,
                           llvm::function_ref<void(Run)> emit) const {
  size_t own = 0;    // where bytes begin that are in no run yet
  int64_t shift = 0; // of the last copy: its place in base less that in the target
  for (size_t at = 0; at + block_ <= target.size();) {
    // Where something small was exchanged, base and target go on side by side.
    int64_t place = int64_t(at) + shift;
    bool goesOn = place >= 0 && uint64_t(place) + block_ <= base_.size() &&
                  std::memcmp(base_.data() + place, target.data() + at, block_) == 0;
    if (!goesOn)
      place = find(target.slice(at, block_));
    if (place < 0) {
      at += step_;
      continue;
    }
    size_t begin = at, end = at + block_;
    end += commonPrefix(base_.drop_front(size_t(place) + block_), target.drop_front(end));
    while (begin > own && place > 0 && base_[size_t(place) - 1] == target[begin - 1]) {
      --begin;
      --place;
    }
    if (begin > own)
      emit({false, own, begin - own});
    emit({true, uint64_t(place), end - begin});
    shift = place - int64_t(begin);
    own = end;
    at = llvm::alignTo(end, step_);
  }
  if (own < target.size())
    emit({false, own, target.size() - own});
}

} // namespace plait::driver
