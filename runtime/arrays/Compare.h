// How far two tensors are apart, and whether that is within a tolerance.
#pragma once

#include "mil/Attr.h"

namespace plait::runtime {

/// Errors of `actual` against `reference`, over the positions where both are finite.
struct Comparison {
  int64_t elements = 0;
  double maxAbsolute = 0;
  /// |actual - reference| / |reference|, over references other than 0.
  double maxRelative = 0;
  /// The largest finite |reference|: the scale that errors are judged by.
  double peak = 0;
  /// The roots of the mean squares of error and reference.
  double rmsError = 0, rmsReference = 0;
  /// 10 log10 of signal over noise power; infinite where nothing differs.
  double snr = 0;
  /// Of the two as vectors; 1 where both are zero.
  double cosine = 1;
  /// Positions where one is NaN or infinite and the other is not the same.
  int64_t nonFinite = 0;
  /// The element with the largest error, or the first non-finite mismatch.
  int64_t worst = -1;
};

/// Element types may differ; shapes may not.
Expected<Comparison> compare(const mil::TensorData &actual, const mil::TensorData &reference);

/// An output passes when no position is non-finite on one side only and every error is at most
/// absolute + relative * peak: errors of a sum are in the scale of its terms, so that a small
/// element beside large ones is not held to its own size.
struct Tolerance {
  double absolute = 1e-5;
  double relative = 1e-4;
  bool accepts(const Comparison &c) const {
    return c.nonFinite == 0 && c.maxAbsolute <= absolute + relative * c.peak;
  }
};

/// "max abs 1.2e-04, max rel 3.4e-03, SNR 71.2 dB, cosine 0.999999"
std::string describe(const Comparison &comparison);

} // namespace plait::runtime
