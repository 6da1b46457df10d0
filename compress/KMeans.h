// The best palette of a set of numbers: k-means in one dimension, to the optimum.
//
//   values    -1 0 0 1 9 10         2 entries: {0, 9.5}, squared error 2.5
//
// An optimal clustering of numbers cuts their order into runs (Wang & Song 2011), and the cost of a
// run fulfils the quadrangle inequality, so the best last run of the first i numbers begins no
// earlier than that of the first i - 1. With a price for each run, the cheapest clustering of all
// prefixes takes O(n log n); the least error for k runs is convex in k, so some price has k runs in
// its optimum (Grønlund, Larsen, Mathiasen, Nielsen, Schneider & Song 2017). Where a price has
// optima of fewer and of more runs only, two of them are spliced to one of k (Aggarwal, Schieber &
// Tokuyama 1994). No start is chosen and nothing is repeated until it no longer improves: there is
// no local optimum to end in.
//
// Time: about ten passes of n log n steps, whatever k. Memory: 48 bytes a number. n counts
// distinct numbers: halves have 63,487 at most.
#pragma once

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <vector>

namespace plait::compress {

/// A number and how much an error on it weighs (how often it occurs, times its importance).
struct WeightedValue {
  double value;
  double weight; ///< above 0
};

/// `entries` numbers in ascending order, for which the sum of weight * (value - nearest entry)^2 is
/// least. With `halves` among numbers of half precision, else among all (fp32 ones, by rounding the
/// result). `points` are distinct, in ascending order, at least one. Where there are fewer points
/// than entries, the last is repeated.
///
/// `price`, where it is not null, is where the search begins, and afterwards where it ended, in
/// multiples of what the variance of the points makes likely: like sets of points have like ones.
/// The palette does not depend on it, but for sets with several optima.
std::vector<float> optimalPalette(llvm::ArrayRef<WeightedValue> points, unsigned entries,
                                  bool halves, double *price = nullptr);

/// The nearest number of half precision, the even one of two.
double roundedToHalf(double value);

} // namespace plait::compress
