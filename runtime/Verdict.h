// Whether the outputs of a function are the model's, judged by what rounding does to them.
#pragma once

#include "runtime/Noise.h"
#include "runtime/Verify.h"

namespace plait::runtime {

/// The model's scalar beside the [1] that an interface without rank 0 has for it.
mil::TensorData shapedAs(const mil::TensorData &reference, const mil::TensorData &actual);

/// Whether an error is within `limit` but for what the steps of quantize and round do, which take
/// the same numbers as far as `steps` says: a run that rounds elsewhere lies on another side of
/// what is without steps, and so up to twice as far away. Steps that change most of an output are
/// no matter of rounding: they allow nothing.
bool isWithinSteps(const Comparison &error, const Comparison &steps, const Tolerance &limit);

/// Picks from outputs and states those that are compared, in the order of the model's tensors.
using Arrange = llvm::function_ref<std::vector<NamedResult>(std::vector<NamedResult>)>;

/// Judges what the last step of `noise` gave, and has it disturbed again where that may settle what
/// is not explained yet. `limit` is how far rounding may take an output; `inside` the type of half
/// precision that the model computes in, where it does. Results in `random` are none of the
/// model's: they are judged by their rounding alone.
Expected<std::vector<OutputReport>> judge(const mil::Function &function, Noise &noise,
                                          llvm::ArrayRef<mil::TensorData> expected, Arrange arrange,
                                          const Tolerance &limit, unsigned draw,
                                          std::optional<mil::DType> inside,
                                          const llvm::StringSet<> &random);

} // namespace plait::runtime
