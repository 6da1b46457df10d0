// Where an operation comes from: the module that was run, the line of the model's source, and the
// operator that was lowered there.
#pragma once

#include "mil/Name.h"

#include <cstdint>
#include <memory>

namespace plait::mil {

/// Places in source text, described when somebody asks: finding the line of a place costs more than
/// lowering it.
class SourceTable {
public:
  virtual ~SourceTable();
  /// `model.py:12 in forward: y = self.linear(x)`, as far as known; "" otherwise. Thread-safe.
  virtual std::string describe(uint64_t position) const = 0;
};

/// An immutable place, one pointer long. Equal places are the same pointer; the texts live as long
/// as a location holds them. Thread-safe as a shared_ptr is.
class Location {
public:
  /// Nothing is known.
  Location() = default;
  /// Any part may be empty. `module` is "" for the root.
  Location(Name module, Name source, Name op);
  Location(Name module, std::shared_ptr<const SourceTable> sources, uint64_t position, Name op);
  Location(const Location &other) : entry_(other.entry_) { retain(); }
  Location(Location &&other) noexcept : entry_(other.entry_) { other.entry_ = nullptr; }
  Location &operator=(Location other) noexcept {
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~Location() { release(); }

  bool empty() const { return !entry_; }
  explicit operator bool() const { return entry_; }
  /// "encoder.layer.0"; "" for the root.
  const Name &module() const;
  /// "model.py:12 in forward: y = …"; "" where unknown.
  std::string source() const;
  /// "aten::linear".
  const Name &op() const;
  /// For messages: "encoder.layer.0 at model.py:12 in forward: y = …"; the operator where neither
  /// is known.
  std::string str() const;
  /// Tells locations apart, for maps of them.
  const void *id() const { return entry_; }

  friend bool operator==(const Location &a, const Location &b) { return a.entry_ == b.entry_; }

private:
  struct Entry;
  struct Pool;
  explicit Location(Entry entry);
  void retain();
  void release();

  Entry *entry_ = nullptr;
};

} // namespace plait::mil
