// The factors of kept LoRA branches: which layer takes a factor, and what that does to its weight
// and bias.
//
//   %h = linear(x = %x, weight = const A)                              before
//   %k = mul(x = %h, y = 0.5)
//   %d = linear(x = %k, weight = const B, bias = const b)
//   %s = mul(x = %d, y = 0.25)
//
//   %h = linear(x = %x, weight = const A)                              after
//   %d = linear(x = %h, weight = const 0.125 B, bias = const 0.25 b)
#pragma once

#include "passes/LoraMatch.h"
#include "passes/Sharing.h"

#include "llvm/ADT/DenseMap.h"

namespace plait::passes {

// ---- Constants ---------------------------------------------------------------------------------

/// The factor as a constant that lies along `axis` of a tensor of the given rank.
mil::TensorData alongFeatures(mil::DType dtype, unsigned rank, unsigned axis,
                              const PerFeature &factor);
/// weight * factor, the factor along `axis`.
mil::TensorData scaled(const mil::TensorData &weight, const PerFeature &factor, unsigned axis,
                       const PassContext &context);
void setConstant(mil::Op &op, unsigned param, const mil::TensorData &tensor);
/// The elements of the layer's bias; zero where it has none, nullopt where they are not known.
std::optional<PerFeature> biasValues(const mil::Op &layer, const PassContext &context);
void setBias(mil::Op &layer, PerFeature values);

// ---- Branches ----------------------------------------------------------------------------------

/// Whether there is a factor in the branch or behind it.
bool needsTarget(const LoraTerm &term);
/// All factors of a branch, as factors of one layer's weight.
struct LayerFactors {
  PerFeature rows;          ///< of the features that the layer gives
  PerFeature columns = {1}; ///< of those that it takes

  bool operator==(const LayerFactors &other) const {
    return rows == other.rows && columns == other.columns;
  }
};
/// `layer` is the term's A, which takes no factor per feature that stands behind B, or its B.
LayerFactors factorsOf(const LoraTerm &term, const mil::Op *layer);
/// The layer's weight, scaled.
mil::TensorData scaledWeight(const mil::Op &layer, const LayerFactors &factors,
                             const PassContext &context);
/// Whether the layer, the branch's A or B, could take all factors. Each bias must then be scaled by
/// the factors that stood behind it. False when a bias would have to be divided, or when the weight
/// has no row or column for each feature, as that of a grouped convolution.
bool canCarry(const LoraTerm &term, const mil::Op *target);
/// Takes the term's factor, and the branch's own, into the weight of `target`.
void carry(LoraTerm &term, mil::Op *target, const PassContext &context);

/// Chooses the layer that takes a branch's factor, once all branches that are kept are counted: a
/// weight that others use is scaled only if all scale it alike.
class ScaledLayers {
public:
  /// `sharing` is borrowed.
  ScaledLayers(Sharing &sharing, const PassContext &context)
      : context_(context), sharing_(sharing) {}

  void count(const LoraTerm &term);
  /// The smaller one of A and B that may be scaled; null if none.
  mil::Op *choose(const LoraTerm &term);

private:
  struct Tally {
    unsigned count = 0;
    LayerFactors factors;
    bool alike = true;
  };

  uint64_t keyOf(const mil::Op *layer) { return sharing_.key(*weightOf(*layer)); }
  bool mayScale(const LoraTerm &term, const mil::Op *layer);

  const PassContext &context_;
  Sharing &sharing_;
  llvm::DenseMap<uint64_t, Tally> tallies_;
};

} // namespace plait::passes
