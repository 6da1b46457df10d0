// The weights of two programs: what they hold, and how those differ that stand in one place.
#pragma once

#include "driver/diff/Diff.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/MapVector.h"

namespace plait::driver {

/// Whether the operand is a weight, which is compared by its numbers, and no literal, which is
/// compared as text. A compressed weight is one weight with all that decompresses it.
bool isWeightOperand(const mil::Op &op, unsigned param, const mil::Value &value);

class WeightTable {
public:
  explicit WeightTable(const DiffOptions &options) : options_(options) {}

  /// A hash of type and contents, compressed form included.
  Expected<uint64_t> hashOf(const mil::Value &weight);
  /// Enters two weights that stand in one place; returns whether they are the same.
  Expected<bool> enter(const mil::Value &a, const mil::Value &b, llvm::StringRef function);
  /// Puts what was entered into the diff.
  void finish(PackageDiff &diff);

private:
  Error measure(const mil::Value &a, const mil::Value &b, WeightDiff &diff);

  const DiffOptions &options_;
  llvm::DenseMap<const mil::Value *, uint64_t> hashes_;
  llvm::DenseMap<std::pair<const void *, uint64_t>, uint64_t> contents_; ///< by place and size
  llvm::MapVector<std::pair<uint64_t, uint64_t>, WeightDiff> differing_;
  llvm::DenseMap<uint64_t, uint64_t> same_; ///< bytes
};

} // namespace plait::driver
