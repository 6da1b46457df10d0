// In which element type a weight lies in memory.
#pragma once

#include "mil/DType.h"

#include <c10/core/ScalarType.h>

namespace plait::frontend {

/// That of a PyTorch type; nullopt where Core ML has nothing like it.
std::optional<mil::DType> storedType(at::ScalarType dtype);

} // namespace plait::frontend
