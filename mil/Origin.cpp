// Sets of paths as one interned text.
#include "mil/Origin.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <set>

namespace plait::mil {

/// No attribute's name holds a mark or the separator.
Origin::Origin(llvm::ArrayRef<std::string> paths, bool isComputed) {
  std::set<std::string> distinct(paths.begin(), paths.end());
  distinct.erase("");
  if (distinct.empty())
    return;
  std::string text;
  if (isComputed)
    text += computedMark;
  text += llvm::join(distinct, llvm::StringRef(&separator, 1));
  text_ = Name(text);
}

bool isParameterPath(llvm::StringRef text) {
  return !text.empty() && llvm::none_of(text, [](char c) { return uint8_t(c) < ' '; });
}

llvm::SmallVector<llvm::StringRef, 2> Origin::paths() const {
  llvm::SmallVector<llvm::StringRef, 2> paths;
  llvm::StringRef text = text_;
  text.consume_front(llvm::StringRef(&computedMark, 1));
  if (!text.empty() && text[0] != unnamedMark)
    text.split(paths, separator);
  return paths;
}

Origin Origin::with(const Origin &other) const {
  if (!other || *this == other || other == unnamed())
    return *this ? *this : other;
  if (!*this || *this == unnamed())
    return other;
  std::vector<std::string> both;
  for (const Origin *origin : {this, &other})
    for (llvm::StringRef path : origin->paths())
      both.push_back(path.str());
  return Origin(both, isComputed() || other.isComputed());
}

Origin Origin::unnamed() {
  static const Origin origin = [] {
    Origin made;
    made.text_ = Name(llvm::StringRef(&unnamedMark, 1));
    return made;
  }();
  return origin;
}

Origin Origin::asComputed() const {
  if (*this == unnamed())
    return *this;
  std::vector<std::string> own;
  for (llvm::StringRef path : paths())
    own.push_back(path.str());
  return Origin(own, true);
}

} // namespace plait::mil
