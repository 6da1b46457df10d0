// Operations on one constant as views of it: nothing is copied, whatever its size.
//
//   %t = transpose(x = const W, perm = [1, 0])      const W seen through swapped strides
//   %s = slice_by_size(x = const W, begin = [0, 8], size = [4, 8])
#pragma once

#include "mil/IR.h"

namespace plait::passes {

/// Result `index` of a cast, reshape, transpose, slice, split or product with a scalar as a
/// transform of its operand `x`; nullopt for other operations and where the tree allows none.
std::optional<mil::TensorData> transformed(const mil::Op &op, const mil::TensorData &x,
                                           unsigned index);

/// The node below the casts, reshapes, permutations and scalar factors of a tensor: what holds its
/// elements, or computes them.
const mil::TensorData::Node &leafOf(const mil::TensorData &tensor);

} // namespace plait::passes
