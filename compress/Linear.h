// Scales and zero points of linear quantisation for the least squared error.
//
//   stored = scale * (q - zeroPoint)        q an integer of 4 or 8 bits
//
// The error of a scale is a parabola as long as no q changes. For blocks every scale at which one
// does is tried and the lowest point of its parabola taken, so that no other scale is better, but
// for what the rounding of products to half adds: up to a hundredth of the error of few numbers.
// Longer runs of numbers, whose error is smooth, are searched on a grid that is refined where it is
// least; of 8 bits, near the scale that is best if rounding is off by any part of a step alike.
// With zero points a few pairs of ends are tried, and scales and zero points around the best one.
// In all cases what the largest number asks for is among the candidates.
//
// Without a zero point both ends of the integers are used: -8 to 7.
#pragma once

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <utility>
#include <vector>

namespace plait::compress {

struct LinearRange {
  int low = -128, high = 127;
  bool hasZeroPoint = false;
  /// Scales and what is stored are halves; else fp32.
  bool halves = true;
};

struct LinearFit {
  float scale = 1;
  int zeroPoint = 0;
  double error = 0; ///< weighted; of what an fp16 (fp32) product gives, or a little above it
};

/// Fits one block; keeps its memory from one to the next.
class LinearFitter {
public:
  explicit LinearFitter(LinearRange range) : range_(range) {}

  /// `weights` may be empty. Numbers are finite. Where all are zero the scale is 1.
  LinearFit fit(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights = {});
  /// The integer of one number for a fit, and what it stands for.
  std::pair<int8_t, float> nearestTo(float value, const LinearFit &fit) const;
  /// The integers for a fit, and what they stand for.
  void quantize(llvm::ArrayRef<float> values, const LinearFit &fit, int8_t *out, float *stored);

private:
  /// The error with the rounding of products, of the nearest integers before it.
  double errorAt(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights, float scale,
                 int zeroPoint) const;
  void consider(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights, double scale,
                int zeroPoint, LinearFit &best);
  /// False where there are too many changes.
  bool fitExactly(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights, double least,
                  double most, LinearFit &best);
  /// Without a zero point. `most` is the smallest scale that clips nothing.
  void fitScale(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights, double most,
                double symmetric, LinearFit &best);
  void fitOnGrid(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights, double least,
                 double most, double symmetric, LinearFit &best);
  /// The best scale if what is not clipped is off by any part of a step alike.
  double expectedScale(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights, double least,
                       double most) const;
  void fitZeroPoint(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights, double low,
                    double high, LinearFit &best);
  double leastSquares(llvm::ArrayRef<float> values, llvm::ArrayRef<float> weights, double scale,
                      int zeroPoint) const;
  float rounded(double value) const;

  LinearRange range_;
  /// Of each number: its largest integer, the middle beyond the first one, how many follow, 1 /
  /// |x|.
  std::vector<float> limits_, steps_, counts_, inverses_;
  std::vector<float> scales_, products_, squares_; ///< inverses of scales, and what they come to
};

} // namespace plait::compress
