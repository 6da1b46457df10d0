// Edit distances, and the entries of a folder.
#include "support/DidYouMean.h"

#include "support/Format.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <algorithm>

namespace plait {

using llvm::StringRef;

/// How far a candidate is away; `bound` and more are too far.
static unsigned distanceOf(StringRef word, StringRef candidate, unsigned bound) {
  if (word.size() >= 3 && candidate.starts_with(word))
    return 1;
  unsigned distance = word.edit_distance(candidate, /*AllowReplacements=*/true, bound);
  // 'fc1' for 'layers.0.fc1': whoever leaves out the beginning is near, but not nearest.
  if (word.size() >= 2 && candidate.size() > word.size() && candidate.ends_with(word) &&
      candidate[candidate.size() - word.size() - 1] == '.')
    distance = std::min(distance, 1u);
  return distance;
}

/// The nearest of the candidates, the first of several; "" where none is near.
static StringRef nearest(StringRef word, llvm::ArrayRef<StringRef> candidates) {
  StringRef best;
  // One letter is as near to every other as can be: that is no likeness.
  unsigned bestDistance = word.size() < 2 ? 1 : std::min<size_t>(3, word.size() / 3 + 1) + 1;
  for (StringRef candidate : candidates) {
    unsigned distance = distanceOf(word, candidate, bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

static std::string question(StringRef folder, StringRef name) {
  return name.empty() ? "" : fmt::format(" (did you mean '{0}{1}'?)", folder, name);
}

std::string didYouMean(StringRef word, llvm::ArrayRef<StringRef> candidates) {
  return question("", nearest(word, candidates));
}

std::string didYouMeanFile(StringRef path) {
  constexpr size_t kMostEntries = 4096; // of a folder: a message need not take its time
  StringRef given = path.rtrim('/');
  StringRef name = llvm::sys::path::filename(given), folder = given.drop_back(name.size());
  std::vector<std::string> entries;
  std::error_code code;
  for (llvm::sys::fs::directory_iterator it(folder.empty() ? StringRef(".") : folder, code), end;
       it != end && !code && entries.size() < kMostEntries; it.increment(code))
    if (StringRef entry = llvm::sys::path::filename(it->path()); !entry.starts_with("."))
      entries.push_back(entry.str());
  std::sort(entries.begin(), entries.end()); // folders list them in no order
  return question(folder,
                  nearest(name, llvm::SmallVector<StringRef, 16>(entries.begin(), entries.end())));
}

} // namespace plait
