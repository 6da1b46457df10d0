// What a constant is computed from, and whether it may be stored in the place of that.
//
// Weights are not expanded: a product of two factors, a Kronecker product or a repeated table stays
// an operation where its result holds more than its sources do. Masks, shapes, fills and whatever
// else is made of literals has no weights among its sources (mil/Origin.h).
#pragma once

#include "passes/Pass.h"

namespace plait::passes {

/// The node below the casts, reshapes, permutations and scalar factors of a tensor: what holds its
/// elements, or computes them.
const mil::TensorData::Node &leafOf(const mil::TensorData &tensor);

/// The constants that a value is computed from, each counted once.
class ConstantSources {
public:
  void add(const mil::TensorData &tensor);
  void add(const ConstantSources &other);
  /// Whether a constant of this shape and type, computed from these, may be stored.
  bool admit(const mil::TensorData &result) const;

private:
  llvm::SmallVector<mil::TensorData, 4> sources_;
};

} // namespace plait::passes
