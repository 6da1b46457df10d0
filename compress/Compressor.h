// Compresses one weight: reads it piece by piece, chooses tables and scales, and leaves the parts
// of constexpr_* operations.
//
// Memory: what one piece for each thread takes, whatever the size of the weight; a byte a number
// where the axes of its users are not the order in which it lies. The result does not depend on the
// number of threads: pieces are cut by the weight alone, and sums follow their order.
#pragma once

#include "compress/Layout.h"
#include "mil/Evaluator.h"

namespace plait::compress {

/// A weight in parts. Which there are says which operations make it (Rewrite.h).
struct Compressed {
  Scheme scheme;         ///< as it was done
  mil::TensorData data;  ///< indices or integers; of a pruned weight those of the mask's ones
  mil::TensorData mask;  ///< of a pruned weight, uint1
  mil::TensorData table; ///< of a palette: [groups of each axis…, entries, 1]
  std::optional<int> vectorAxis; ///< of a palette of vectors, along which they lie
  /// Of integers, or of a table of int8.
  mil::TensorData scale, offset;
  /// Of a correction, whose product is added: [rank, in] and [out, rank]. What its layer does to
  /// them is Rewrite.h's.
  mil::TensorData down, up;
  std::string note; ///< what is not as asked for

  int64_t count = 0; ///< numbers of the weight
  /// Sums over all numbers: their squares, and the squares of what compression changed.
  double power = 0, error = 0;
  double largestError = 0;

  uint64_t bytes() const;
  double bitsPerWeight() const { return 8.0 * double(bytes()) / double(count); }
  /// In decibels; infinite where nothing changed.
  double snr() const;
};

/// Why a weight stays as it is, or what it became.
struct Outcome {
  std::optional<Compressed> compressed;
  std::string skipped; ///< empty where it is compressed
};

struct CompressorOptions {
  unsigned threads = 0; ///< 0: one a processor
  mil::Evaluator *evaluator = nullptr;
  std::string target; ///< the package, beside which large parts wait
};

/// `weight` is of fp16 or fp32. A weight that cannot be compressed so is an outcome; an error is
/// one of reading or of the file system.
Expected<Outcome> compressWeight(const mil::TensorData &weight, Axes axes, const Scheme &scheme,
                                 const CompressorOptions &options);

} // namespace plait::compress
