// LibTorch's tracer.
#pragma once

#include "frontend/script/libtorch/Internals.h"

namespace plait::libtorch {

/// The graph of one run of the call, simplified as LibTorch does it. Tensors that are neither
/// inputs nor of `self` become constants; LibTorch refuses those that require gradients.
std::shared_ptr<torch::jit::Graph> recordTrace(TraceCall call);

} // namespace plait::libtorch
