// How operations compute their results: further traits of Ops.def. Those in OpInfo.h say what an
// operation does beside that.
#pragma once

#include "mil/IR.h"

namespace plait::mil {

/// Elementwise: each element from that of the first operand in the same place. Other operands are
/// one constant number each.
inline constexpr Trait Unary = Trait(16);
/// Elementwise, of two operands that broadcast.
inline constexpr Trait Binary = Trait(32);
/// Gives elements of the operands, or constants, as they are: no arithmetic.
inline constexpr Trait Moves = Trait(64);
/// Gives elements of the operands, their absolute values or constants, chosen by comparing: no
/// rounding.
inline constexpr Trait Picks = Trait(128);

inline bool computes(OpKind kind, Trait how) { return info(kind).traits & how; }
inline bool computes(const Op &op, Trait how) { return computes(op.kind(), how); }

} // namespace plait::mil
