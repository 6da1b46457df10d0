// Interned names. A program says most of its names twice (an operation and its result), and its
// functions say the same ones again: each is kept once.
#pragma once

#include "support/Format.h"

#include "llvm/ADT/DenseMapInfo.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include <atomic>
#include <concepts>
#include <string>

namespace plait::mil {

/// An immutable text, one pointer long. Equal names are the same pointer; the text lives as long as
/// a name holds it. Thread-safe as a shared_ptr is.
class Name {
public:
  /// The empty name.
  Name() = default;
  Name(llvm::StringRef text);
  Name(const std::string &text) : Name(llvm::StringRef(text)) {}
  Name(const char *text) : Name(llvm::StringRef(text)) {}
  Name(const Name &other) : entry_(other.entry_) { retain(); }
  Name(Name &&other) noexcept : entry_(other.entry_) { other.entry_ = nullptr; }
  Name &operator=(Name other) noexcept {
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~Name() { release(); }

  operator llvm::StringRef() const { return entry_ ? entry_->getKey() : llvm::StringRef(); }
  std::string str() const { return llvm::StringRef(*this).str(); }
  bool empty() const { return !entry_; }
  size_t size() const { return llvm::StringRef(*this).size(); }

  friend bool operator==(const Name &a, const Name &b) { return a.entry_ == b.entry_; }
  /// With whatever a StringRef is made of; nothing is interned for it.
  template <typename Text>
    requires(std::convertible_to<const Text &, llvm::StringRef> && !std::same_as<Text, Name>)
  friend bool operator==(const Name &a, const Text &b) {
    return llvm::StringRef(a) == llvm::StringRef(b);
  }
  friend std::string operator+(const Name &a, llvm::StringRef b) { return a.str() += b; }
  friend std::string operator+(llvm::StringRef a, const Name &b) {
    return a.str() += llvm::StringRef(b);
  }

private:
  friend struct llvm::DenseMapInfo<Name>;
  /// How many names hold the text.
  using Entry = llvm::StringMapEntry<std::atomic<unsigned>>;
  struct Pool;

  /// A key of DenseMap that is no name.
  static Name marker(Entry *entry) {
    Name name;
    name.entry_ = entry;
    return name;
  }
  static Entry *emptyMarker() { return llvm::DenseMapInfo<Entry *>::getEmptyKey(); }
  static Entry *tombstoneMarker() { return llvm::DenseMapInfo<Entry *>::getTombstoneKey(); }
  bool counts() const { return entry_ && entry_ != emptyMarker() && entry_ != tombstoneMarker(); }
  void retain() {
    if (counts())
      entry_->getValue().fetch_add(1, std::memory_order_relaxed);
  }
  void release();

  Entry *entry_ = nullptr; ///< null for the empty name
};

} // namespace plait::mil

template <> struct llvm::DenseMapInfo<plait::mil::Name> {
  using Name = plait::mil::Name;
  static Name getEmptyKey() { return Name::marker(Name::emptyMarker()); }
  static Name getTombstoneKey() { return Name::marker(Name::tombstoneMarker()); }
  static unsigned getHashValue(const Name &name) {
    return DenseMapInfo<void *>::getHashValue(name.entry_);
  }
  static bool isEqual(const Name &a, const Name &b) { return a == b; }
};

template <> struct fmt::formatter<plait::mil::Name> : fmt::formatter<llvm::StringRef> {};
