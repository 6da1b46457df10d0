// What the kinds of adapters share: convolutions with the base's geometry, merging.
#pragma once

#include "frontend/adapter/AdapterHook.h"

namespace plait::frontend {

/// Of a convolution in a branch of an adapted one.
enum class Geometry : uint8_t {
  OfBase,    ///< stride and padding; no dilation, one group: what PEFT gives lora_A
  AllOfBase, ///< dilation and groups too: a convolution by a difference of weights
  Pointwise, ///< 1x1
};

/// The base's convolution with another weight and without a bias; poison where it cannot be.
Val convolve(Ops &ops, const AdaptedModule &module, const Val &x, const Val &weight,
             Geometry geometry, int64_t groups = 1);

/// What a difference of weights adds to a convolution that computes it when it runs.
Val convolveDelta(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
                  const AdapterBranch &branch, const Val &x, const Val &delta);

/// What a scaled embedding multiplies what it gathers with; one of others.
double embeddingScale(const AdaptedModule &module);

Val loraOutput(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
               const AdapterBranch &branch, const Val &x);
mil::TensorData mergedLora(Ops &ops, const AdaptedModule &module, const AdapterBranch &branch,
                           const mil::TensorData &weight);
/// magnitude / norm, of a weight that has the branch merged into it.
Val doraScale(Ops &ops, const AdaptedModule &module, const AdapterBranch &branch,
              const Val &merged);

/// The parts of VeRA's shared projections that fit the module.
struct VeraFactors {
  at::Tensor a, b;
};
VeraFactors veraFactors(const AdaptedModule &module, const AdapterBranch &branch);
Val veraOutput(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
               const AdapterBranch &branch, const Val &x);

Val lohaOutput(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
               const AdapterBranch &branch, const Val &x);
Val lokrOutput(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
               const AdapterBranch &branch, const Val &x);
/// (A1 B1) * (A2 B2), kron(W1, W2): what they add to the weight, in its shape and without a scale.
/// Never stored where it is larger than the factors.
Val lohaDelta(AdapterHook *hook, Ops &ops, const AdaptedModule &module,
              const AdapterBranch &branch);
Val lokrDelta(AdapterHook *hook, Ops &ops, const AdaptedModule &module,
              const AdapterBranch &branch);

} // namespace plait::frontend
