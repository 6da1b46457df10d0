// Compression of one weight by more than its numbers: by what it is multiplied with.
#pragma once

#include "compress/Activations.h"
#include "compress/Compressor.h"

namespace plait::compress {

struct Guidance {
  /// What the weight is multiplied with; null or nothing seen: every number counts alike. Pruning
  /// and tables of vectors do not look at it.
  const InputSums *inputs = nullptr;
  /// Integers make up for the errors of others (Gptq.h), where `inputs` has the products.
  bool gptq = false;
};

struct GuidedOutcome : Outcome {
  /// Compressed::power and error by the importance of each number; without one the same.
  double power = 0, error = 0;
};

/// compressWeight(), guided.
Expected<GuidedOutcome> compressGuided(const mil::TensorData &weight, Axes axes,
                                       const Scheme &scheme, const CompressorOptions &options,
                                       const Guidance &guidance);

} // namespace plait::compress
