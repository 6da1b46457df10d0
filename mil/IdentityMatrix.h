// Identity matrices that take no memory: a diagonal band of a splat, as a computed constant.
//
//   band_part(const 1 [6000, 6000], lower = 0, upper = 0)
//
// PEFT multiplies the factors of a DoRA out by passing an identity matrix of the layer's width
// through them; torch.eye itself would be as large as the weight.
#pragma once

#include "mil/TensorData.h"

namespace plait::mil {

/// Ones where row and column are equal, zeros elsewhere.
TensorData identityMatrix(DType dtype, int64_t rows, int64_t columns);

/// Whether the tree is a square identityMatrix(), cast or transposed or not. False proves nothing.
bool isIdentityMatrix(const TensorData &tensor);

} // namespace plait::mil
