// Where fp16 ends: which operations that only move or choose numbers are computed in fp32 because
// that takes fewer casts.
//
//   split(x) -> a, b, c, and each goes into an operation in fp32      three casts behind the split,
//                                                                     or one before it
//
// Such an operation gives the same numbers in either type, but for one thing: between an operation
// in fp32 and another one it is in fp32 as well, so that nothing is rounded on the way.
#pragma once

#include "mil/IR.h"

#include "llvm/ADT/DenseSet.h"

namespace plait::passes {

/// Gives the same numbers whether its operands are rounded or its results.
bool commutesWithRounding(const mil::Op &op);

/// `half` may be computed in fp16; everything else in the function that is floating-point is in
/// fp32. Gives those of `half` that had better be in fp32 too: the fewest that take the fewest
/// casts.
llvm::DenseSet<const mil::Op *> wideMoves(const mil::Function &function,
                                          const llvm::DenseSet<const mil::Op *> &half);

} // namespace plait::passes
