// Between MIL's constants and LibTorch's tensors (private: includes torch). Constants that are
// views of storage are seen in place; everything else is read through a TensorReader.
//
// While a function runs, a value of element type D is held as a tensor of heldType(D): D itself
// where LibTorch computes with it, the next wider signed type for uint16, uint32 and uint64, one
// byte an element for sub-byte types.
#pragma once

#include "mil/Attr.h"
#include "runtime/Compute.h"

#include <ATen/ATen.h>

namespace plait::runtime {

at::ScalarType heldType(mil::DType dtype, Compute compute = Compute::Float32);

/// The tensor, held as heldType(dtype). It keeps the storage alive and must not be written to.
Expected<at::Tensor> toTensor(const mil::TensorData &data, Compute compute,
                              mil::Evaluator *evaluator);

/// The tensor as a constant of element type `dtype`, row-major. Memory is shared where the tensor
/// already is that.
mil::TensorData toTensorData(const at::Tensor &tensor, mil::DType dtype);

} // namespace plait::runtime
