// Masks of attention, and the rows that they leave without any key.
//
// PyTorch's scaled_dot_product_attention gives 0 for a row that is masked wholly. The softmax of
// such a row is NaN, in PyTorch as on a device. So the row is unmasked, which makes it finite, and
// its result is multiplied by 0:
//
//     mask [[T, F], [F, F]]   becomes   mask [[T, F], [T, T]]   and   alive [[1], [0]]
#pragma once

#include "frontend/lower/Expr.h"

namespace plait::frontend {

struct AttentionMask {
  /// Bool (true: takes part) or additive; every row has a finite score. Null: no mask.
  Value *value = nullptr;
  /// Factors 0 and 1 of the rows, [.., queries, 1]. Null where no row is masked wholly.
  Value *alive = nullptr;
};

/// The mask with its wholly masked rows taken out. Where it is known, or cannot hide a key, that
/// takes no operation.
AttentionMask withoutDeadRows(Call &c, Value *mask);

/// y, [.., queries, anything], with 0 in the rows that `mask` took out.
Expr zeroDeadRows(const Expr &y, const AttentionMask &mask);

} // namespace plait::frontend
