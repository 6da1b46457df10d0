// What a lowered function has of a parameter: the whole, transposed, reshaped, or rows of it, as a
// view of the parameter's memory; and the same view of another value.
//
//   parameter  W [64, 32]                  value  V [64, 32]
//   constant   W seen as [32, 64]          gives  transpose(V)
//   constant   rows 16 to 31 of W          gives  V[16:32]
#pragma once

#include "adapters/BranchBuilder.h"

namespace plait::adapters {

/// What `constant`, which is made of `parameter` alone, would be of `value`; null where it is no
/// view that can be told.
Value *viewLike(BranchBuilder &build, const TensorData &constant, const TensorData &parameter,
                Value *value);

} // namespace plait::adapters
