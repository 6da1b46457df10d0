// What a constant is computed from, and whether it may be stored in the place of that.
//
// Weights are not expanded: a product of two factors, a Kronecker product or a repeated table stays
// an operation where its result holds more than its sources do. Masks, shapes, fills and whatever
// else is made of literals has no weights among its sources.
#pragma once

#include "passes/Pass.h"

#include "llvm/ADT/DenseSet.h"

namespace plait::passes {

/// The constants that a value is computed from, each counted once.
class Sources {
public:
  /// `literal`: it was computed from literals, whatever it looks like.
  void add(const mil::TensorData &tensor, bool literal = false);
  void add(const Sources &other);
  /// They are stored whatever becomes of the value: it takes their place in no case.
  void pin() { pinned_ = true; }

  bool haveWeights() const;
  /// Whether a constant of this shape and type, computed from these, may be stored.
  bool admit(const mil::TensorData &result) const;

private:
  struct Source {
    mil::TensorData tensor;
    bool literal;
    bool isWeight() const;
  };
  llvm::SmallVector<Source, 4> sources_;
  bool pinned_ = false;
};

/// The slices of weights that stay operations: where the pieces of a weight, and the whole where
/// something uses that too, would take more together than the whole.
///
///   %a = slice_by_size(x = const A [16, 768], begin = [0, 0], size = [16, 256])
///   %h = matmul(x = %x, y = %a, transpose_y = true)
///   %k = linear(x = %y, weight = const A)
class KeptSlices {
public:
  explicit KeptSlices(mil::Program &program);
  bool contains(const mil::Op &op) const { return kept_.contains(&op); }

private:
  llvm::DenseSet<const mil::Op *> kept_;
};

} // namespace plait::passes
