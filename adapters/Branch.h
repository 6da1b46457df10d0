// What the branches of each kind compute, in MIL: beside a module's result, or merged into its
// parameters.
#pragma once

#include "adapters/Adapter.h"
#include "adapters/AdapterPlan.h"
#include "adapters/BranchBuilder.h"

namespace plait::adapters {

/// Gives the factors of branches as values: constants, or the inputs of a function.
class FactorSource {
public:
  FactorSource(mil::LoraMode mode, mil::Function &function) : mode_(mode), function_(function) {}

  Value *get(BranchBuilder &build, const AdaptedModule &module, const AdapterBranch &branch,
             llvm::StringRef name);
  mil::LoraMode mode() const { return mode_; }
  /// What the branch is multiplied with: one where the arrays of inputs hold it already.
  double scaleOf(const AdapterBranch &branch) const {
    return mode_ == mil::LoraMode::Inputs ? 1 : branch.scale;
  }
  /// The inputs that were added to the function, in order.
  llvm::ArrayRef<AdapterInput> inputs() const { return inputs_; }

private:
  mil::LoraMode mode_;
  mil::Function &function_;
  std::vector<AdapterInput> inputs_;
  std::map<std::string, Value *> values_; ///< by the factor's key
};

// ---- Beside the module -------------------------------------------------------------------------

/// What a branch adds to the module's result: s * B(A(x)) and its like for each kind but (IA)3.
Value *branchOutput(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                    const AdapterBranch &branch, Value *x);
/// DoRA: magnitude / norm of each output, or input, of W + what the branch adds; a vector.
Value *doraScale(BranchBuilder &build, const AdaptedModule &module, const AdapterBranch &branch);
/// What (IA)3 multiplies with: of several adapters their weighted sum.
Value *featureScale(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module);
/// A vector of one element a feature, in the shape that multiplies x: [n] of a linear layer,
/// [n, 1, 1] of a convolution.
Value *perFeature(BranchBuilder &build, const AdaptedModule &module, Value *vector);
/// The result of an embedding, or of a head with its weight, with the rows that an adapter brings
/// for some tokens in place of the base's.
Value *replaceRows(BranchBuilder &build, const AdaptedModule &module, Value *x, Value *y);

// ---- In its parameters -------------------------------------------------------------------------

/// A parameter of the module as its adapters leave it, before any branch is merged: in fp32.
Value *changedParameter(BranchBuilder &build, const AdaptedModule &module, llvm::StringRef name);
/// The weight of an embedding with an adapter's rows in it, for what reads it without calling the
/// module.
Value *weightWithRows(BranchBuilder &build, const AdaptedModule &module);
/// An error where nothing can be merged into the module's weight.
Error checkMergeable(const AdaptedModule &module);
/// The weight, in the module's own layout, with all branches merged into it.
Value *mergedWeight(BranchBuilder &build, const AdaptedModule &module);
/// Whether branches merge into the bias too, and what it is then: that of a module that has none is
/// added to its result.
bool changesBias(const AdaptedModule &module);
Value *mergedBias(BranchBuilder &build, const AdaptedModule &module);

// ---- For the kinds -----------------------------------------------------------------------------

/// Of a convolution in a branch of an adapted one.
enum class Geometry : uint8_t {
  OfBase,    ///< stride and padding; no dilation, one group: what PEFT gives lora_A
  AllOfBase, ///< dilation and groups too: a convolution by a difference of weights
  Pointwise, ///< 1x1
};
/// The base's convolution with another weight and without a bias; poison where it cannot be.
Value *convolve(BranchBuilder &build, const AdaptedModule &module, Value *x, Value *weight,
                Geometry geometry, int64_t groups = 1);
/// What a difference of weights adds to a convolution that computes it when it runs.
Value *convolveDelta(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                     const AdapterBranch &branch, Value *x, Value *delta);

Value *loraOutput(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                  const AdapterBranch &branch, Value *x);
/// W + s B A in the layout of the module's weight, lazily.
TensorData mergedLora(const AdaptedModule &module, const AdapterBranch &branch,
                      const TensorData &weight);
/// magnitude / norm, of a weight that has the branch merged into it.
Value *doraScale(BranchBuilder &build, const AdaptedModule &module, const AdapterBranch &branch,
                 Value *merged);
Value *veraOutput(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                  const AdapterBranch &branch, Value *x);
Value *veraDelta(BranchBuilder &build, const AdaptedModule &module, const AdapterBranch &branch);

Value *lohaOutput(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                  const AdapterBranch &branch, Value *x);
Value *lokrOutput(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                  const AdapterBranch &branch, Value *x);
/// (A1 B1) * (A2 B2), kron(W1, W2): what they add to the weight, in its shape and without a scale.
/// Never stored where it is larger than the factors.
Value *lohaDelta(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                 const AdapterBranch &branch);
Value *lokrDelta(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                 const AdapterBranch &branch);

} // namespace plait::adapters
