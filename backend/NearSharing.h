// Why a weight is not shared although another function holds nearly the same one. A user who
// expected one copy looks for this.
#pragma once

#include "mil/TensorData.h"

#include <string>
#include <vector>

namespace plait {

/// A weight of one function that is nearly one of another function.
struct NearlyShared {
  enum class Reason {
    Values,     ///< the same type, some elements other, or all of them a little
    Type,       ///< another element type
    Transposed, ///< the same numbers, the axes exchanged
    Scaled,     ///< each row is a multiple: a scale is folded into it, as freezing a model that has
                ///< batch norms does
  };
  /// A function and a weight of it, by their places in the summary.
  struct Place {
    unsigned function, weight;
  };

  Place here, there; ///< `there` is in a function before
  Reason reason;
  uint64_t bytes = 0;    ///< that `here` takes
  uint64_t elements = 0; ///< of each
  /// How many differ, to the bit; after rounding to the narrower type, where the types differ;
  /// after transposing or scaling, where that is the reason (then rounding may be all of it).
  uint64_t different = 0;
  /// The largest absolute difference of those, where it is a number: 0 where they are zeros of two
  /// signs, infinities and NaNs alone.
  double maxDifference = 0;
};

/// A weight to look at.
struct NearSharingCandidate {
  NearlyShared::Place place;
  llvm::StringRef name;
  mil::TensorData tensor;
  unsigned blob;
  llvm::ArrayRef<unsigned> functions; ///< that use its blob, ascending
};

/// Weights shorter than this are not looked at.
inline constexpr uint64_t nearSharingBytes = 4096;

/// Looks for near sharing among weights, given in the order of functions. A weight is held against
/// weights of earlier functions of its name, of its place among those of its size, or with a run of
/// its elements, at first by samples, so that the time grows with the number of weights and with
/// the bytes of those that are near. At most one entry a blob, largest first.
std::vector<NearlyShared> findNearlyShared(llvm::ArrayRef<NearSharingCandidate> candidates);

} // namespace plait
