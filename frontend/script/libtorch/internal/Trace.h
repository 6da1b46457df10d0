// LibTorch's tracer.
#pragma once

#include "frontend/script/libtorch/Internals.h"

namespace plait::libtorch {

/// One run of the call. Tensors that are neither inputs nor of `self` become constants; LibTorch
/// refuses those that require gradients.
Recording recordTrace(TraceCall call);

} // namespace plait::libtorch
