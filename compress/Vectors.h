// Palettes of vectors: one index stands for several numbers, which follow one another along the
// output axis.
#pragma once

#include "compress/Compressor.h"

namespace plait::compress {

/// As compressWeight(), for a scheme of a palette of vectors. Takes the memory of the weight as
/// fp32.
Expected<Outcome> compressVectors(const mil::TensorData &weight, const Layout &layout,
                                  const Scheme &scheme, const CompressorOptions &options);

} // namespace plait::compress
