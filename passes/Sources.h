// What a constant is computed from, and whether it may be stored in the place of that.
//
// Weights are not expanded: a product of two factors, a Kronecker product or a repeated table stays
// an operation where its result holds more than its sources do. Masks, shapes, fills and whatever
// else is made of literals has no weights among its sources.
#pragma once

#include "passes/Pass.h"

namespace plait::passes {

/// The node below the casts, reshapes, permutations and scalar factors of a tensor: what holds its
/// elements, or computes them.
const mil::TensorData::Node &leafOf(const mil::TensorData &tensor);

/// The constants that a value is computed from, each counted once.
class Sources {
public:
  /// `literal`: it was computed from literals, whatever it looks like.
  void add(const mil::TensorData &tensor, bool literal = false);
  void add(const Sources &other);
  bool haveWeights() const;
  /// Whether a constant of this shape and type, computed from these, may be stored.
  bool admit(const mil::TensorData &result) const;

private:
  enum class Kind : uint8_t {
    Weight,  ///< trained, as far as one can tell: floating, not all the same and not all whole
    Numbers, ///< positions, masks and the like
    Fill,    ///< one number, or an identity matrix
  };
  struct Source {
    mil::TensorData tensor;
    bool literal;
    mutable std::optional<Kind> known;
    Kind kind() const;
  };
  static Kind kindOf(const mil::TensorData &tensor, bool literal);
  void add(Source source);

  llvm::SmallVector<Source, 4> sources_;
};

} // namespace plait::passes
