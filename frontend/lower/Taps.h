// What each output along an axis reads: the taps of an interpolation, the window of an average.
//
//     positions [[0, 1], [1, 2]], weights [[0.5, 0.5], [0.25, 0.75]]
//
// Taps are gathered, not taken by a product with a matrix that is mostly zeros: 0 times an infinity
// somewhere along the axis is no number.
#pragma once

#include "frontend/lower/Expr.h"

namespace plait::frontend {

struct Taps {
  int64_t outputs = 0, count = 0;
  llvm::SmallVector<int64_t, 0> positions; ///< [outputs, count]
  std::vector<float> weights;              ///< the same; empty where they do not differ
};

/// The elements along `axis` of x that the outputs read, combined: `combine` gets them as
/// [.., outputs, count, ..] with the axis of the count, and reduces that.
Expr readTaps(const Expr &x, int64_t axis, const Taps &taps,
              llvm::function_ref<Expr(const Expr &read, int64_t axis)> combine);
/// Sums of the elements times their weights.
Expr weighTaps(const Expr &x, int64_t axis, const Taps &taps);

} // namespace plait::frontend
