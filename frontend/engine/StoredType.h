// In which element type a weight lies in memory, here and in LibTorch.
#pragma once

#include "mil/TensorData.h"

#include <ATen/core/Tensor.h>

namespace plait::frontend {

/// That of a PyTorch type; nullopt where Core ML has nothing like it.
std::optional<mil::DType> storedType(at::ScalarType dtype);

/// A copy of `data` as a tensor. Its element type is one of those that storedType() gives.
Expected<at::Tensor> storedTensor(const mil::TensorData &data);

} // namespace plait::frontend
