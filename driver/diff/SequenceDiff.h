// The longest common subsequence of two sequences, by Myers' algorithm (1986).
#pragma once

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace plait::driver {

/// Pairs of equal elements, ascending in both sequences and as many as there can be. nullopt where
/// more than `most` elements of the two have no partner: time and memory grow with the square of
/// that.
std::optional<std::vector<std::pair<size_t, size_t>>>
commonSubsequence(llvm::ArrayRef<uint64_t> a, llvm::ArrayRef<uint64_t> b, size_t most = 3000);

} // namespace plait::driver
