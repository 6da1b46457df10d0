// Furthest reaching paths, kept for each number of edits, and the way back through them.
#include "driver/diff/SequenceDiff.h"

#include <algorithm>

namespace plait::driver {

std::optional<std::vector<std::pair<size_t, size_t>>>
commonSubsequence(llvm::ArrayRef<uint64_t> a, llvm::ArrayRef<uint64_t> b, size_t most) {
  std::vector<std::pair<size_t, size_t>> pairs;
  size_t front = 0, limit = std::min(a.size(), b.size());
  while (front < limit && a[front] == b[front])
    ++front;
  size_t back = 0;
  while (back < limit - front && a[a.size() - 1 - back] == b[b.size() - 1 - back])
    ++back;
  for (size_t i = 0; i < front; ++i)
    pairs.emplace_back(i, i);

  using Number = int32_t;
  Number n = Number(a.size() - front - back), m = Number(b.size() - front - back);
  auto equal = [&](Number x, Number y) { return a[front + size_t(x)] == b[front + size_t(y)]; };
  // furthest[k + d] is how far x comes on diagonal k = x - y with d edits.
  std::vector<std::vector<Number>> paths;
  Number edits = 0;
  for (bool isDone = n == 0 && m == 0; !isDone; ++edits) {
    if (size_t(edits) > most)
      return std::nullopt;
    std::vector<Number> furthest(size_t(2 * edits + 1));
    const std::vector<Number> *last = edits ? &paths.back() : nullptr;
    for (Number k = -edits; k <= edits; k += 2) {
      auto before = [&](Number diagonal) { return (*last)[size_t(diagonal + edits - 1)]; };
      Number x = 0;
      if (last)
        x = k == -edits || (k != edits && before(k - 1) < before(k + 1)) ? before(k + 1)
                                                                         : before(k - 1) + 1;
      // Diagonals beyond either sequence lead nowhere.
      while (x < n && x - k < m && x - k >= 0 && equal(x, x - k))
        ++x;
      furthest[size_t(k + edits)] = x;
      isDone |= x >= n && x - k >= m;
    }
    paths.push_back(std::move(furthest));
  }

  std::vector<std::pair<size_t, size_t>> middle;
  Number x = n, y = m;
  for (Number d = edits - 1; d >= 0; --d) {
    Number k = x - y, fromX = 0, fromY = 0;
    if (d > 0) {
      auto before = [&](Number diagonal) { return paths[size_t(d - 1)][size_t(diagonal + d - 1)]; };
      Number from = k == -d || (k != d && before(k - 1) < before(k + 1)) ? k + 1 : k - 1;
      fromX = before(from);
      fromY = fromX - from;
    }
    // After the edit that leads to this diagonal all is equal.
    Number begin = d > 0 && k > fromX - fromY ? fromX + 1 : fromX;
    while (x > begin) {
      --x;
      --y;
      middle.emplace_back(front + size_t(x), front + size_t(y));
    }
    x = fromX;
    y = fromY;
  }
  pairs.insert(pairs.end(), middle.rbegin(), middle.rend());
  for (size_t i = back; i-- > 0;)
    pairs.emplace_back(a.size() - 1 - i, b.size() - 1 - i);
  return pairs;
}

} // namespace plait::driver
