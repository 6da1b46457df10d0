// Recognising LoRA: sums of layers, each times a factor. Some of the layers are two, one behind the
// other, with a small rank between them.
//
// PEFT writes one sum in many ways. A walk from the last addition upwards, through additions,
// subtractions, factors and casts, makes all of them the same: layers with a factor per feature,
// and a constant.
//
//   %t = sub(x = %y, y = const b)        y = W x + b
//   %u = mul(x = %t, y = const [out])    c - 1
//   %d = …                               B(A x)                       1 * … is
//   %v = mul(x = %d, y = const [out])    c s                            c * y
//   %w = add(x = %u, y = %v)                                          + c s * d
//   %z = add(x = %y, y = %w)                                          + (1 - c) b
#pragma once

#include "passes/Match.h"

#include "llvm/ADT/DenseSet.h"

namespace plait::passes {

/// A number for each feature of a result, or one for all of them.
struct PerFeature : std::vector<double> {
  using vector::vector;
  mil::Origin origin; ///< of the numbers
};

PerFeature times(const PerFeature &a, const PerFeature &b);
PerFeature plus(const PerFeature &a, const PerFeature &b);
bool isAll(const PerFeature &factor, double value);

// ---- Layers: linear, conv and gather (an embedding) by constant weights ------------------------

bool isLayer(const mil::Op *op);
unsigned weightParam(const mil::Op &op);
mil::Value *inputOf(const mil::Op &op);
/// Absent for a gather.
std::optional<unsigned> biasParam(const mil::Op &op);
/// Null unless a constant of fp32 or fp16.
const mil::TensorData *weightOf(const mil::Op &op);
/// Null where there is none.
const mil::Value *biasOf(const mil::Op &op);
bool hasBias(const mil::Op &op);
/// Where the layer's input comes from: behind float casts, and of a linear layer, which takes each
/// row by itself, behind reshapes of rows.
mil::Value *sourceOf(const mil::Op &layer, mil::Value *input);

// ---- Sums --------------------------------------------------------------------------------------

/// B(between ∘ A(beforeA * x)).
struct LoraBranch {
  mil::Op *b, *a;
  mil::Value *input; ///< x
  PerFeature between = {1};
  double beforeA = 1;
  llvm::SmallVector<mil::Op *, 2> factors; ///< the multiplications behind these two
  bool ownsA = true;                       ///< nothing else uses A's result
};

struct LoraTerm {
  mil::Value *value;
  PerFeature factor;
  mil::Op *layer = nullptr;         ///< that computes it, reshaped and cast; null of anything else
  std::optional<LoraBranch> branch; ///< with `layer` as B
};

struct LoraSum {
  mil::Op *root;
  unsigned axis;                        ///< of the features
  llvm::SmallVector<LoraTerm, 4> terms; ///< with factors other than 0
  PerFeature constant = {0};
  llvm::DenseSet<const mil::Op *> operations; ///< that only this sum needs, and the root
  unsigned arithmetic = 0;                    ///< those that are no casts
  bool hasBranch = false;                     ///< perhaps one that is switched off

  /// Nothing outside the sum uses the value.
  bool owns(const mil::Value *value) const;
};

/// The sum that ends at an addition, subtraction or multiplication, if it has a branch or, where
/// adapters are folded, several layers.
std::optional<LoraSum> matchLoraSum(mil::Op &root, const PassContext &context);

} // namespace plait::passes
