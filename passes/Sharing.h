// Which weights more than one function uses, decided without reading those that are alone: by the
// CRC that an archive states for each record, or, if it states none, by a look at some places and,
// where two look alike, by comparing them.
//
// A wrong answer costs size or speed and never a wrong result: two weights of one CRC might be
// taken for shared, but the writer compares the bytes themselves.
#pragma once

#include "passes/Pass.h"

#include "llvm/ADT/DenseMap.h"

#include <map>

namespace plait::passes {

/// Equal for constants of equal content, dtype, shape and transforms, whichever file they are in.
/// In a package of half precision, rounding to half is no difference.
class ContentKeys {
public:
  explicit ContentKeys(Precision precision) : precision_(precision) {}

  uint64_t operator()(const mil::TensorData &tensor);
  uint64_t operator()(const mil::Attr &attr);

private:
  uint64_t keyOf(const mil::Storage &storage);

  Precision precision_;
  /// The tensor is kept beside its key, so that no other one can come to lie at its address.
  llvm::DenseMap<const mil::TensorData::Node *, std::pair<mil::TensorData, uint64_t>> nodes_;
  llvm::DenseMap<const mil::Storage *, uint64_t> storages_;
  /// Storages without a CRC that look alike and differ, by what they look like.
  std::map<uint64_t, llvm::SmallVector<const mil::Storage *, 1>> alike_;
};

/// The uses of every tensor constant of a program, by content. A snapshot: made anew after a
/// change.
class Sharing {
public:
  Sharing(mil::Program &program, Precision precision);

  uint64_t key(const mil::TensorData &tensor) { return keys_(tensor); }
  /// How often constants of this content are used, by all functions together.
  unsigned uses(uint64_t key) const { return uses_.lookup(key).count; }
  /// Whether a function other than `function` uses a constant of this content.
  bool usedElsewhere(uint64_t key, const mil::Function *function) const;
  /// Whether the constant is used once in its own function and by no other.
  bool isPrivate(const mil::Value *constant);

private:
  struct Uses {
    unsigned count = 0;
    const mil::Function *first = nullptr;
    bool several = false;
  };
  ContentKeys keys_;
  llvm::DenseMap<uint64_t, Uses> uses_;
};

/// Changes that a pass would make to weights. One that several operations or functions use is
/// replaced only where all of them change it alike: it would not be shared any more.
class WeightChanges {
public:
  WeightChanges(mil::Program &program, Precision precision) : sharing_(program, precision) {}

  /// An operation would change `weight`; equal changes have one `hash`. Gives the weight's key.
  uint64_t add(const mil::TensorData &weight, uint64_t hash);
  /// Whether all uses of the weight of this key are changed, and alike.
  bool keepShared(uint64_t key) const;

private:
  struct Group {
    unsigned count = 0;
    uint64_t hash = 0;
    bool alike = true;
  };
  Sharing sharing_;
  llvm::DenseMap<uint64_t, Group> groups_;
};

} // namespace plait::passes
