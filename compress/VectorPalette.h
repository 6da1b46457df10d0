// Tables of short vectors: k-means in several dimensions.
//
// There is no way to the optimum that ends in time, so Lloyd's method runs from several starts, of
// which the best one is taken: the quantiles along the direction in which the vectors differ most,
// and k-means++ with fixed seeds. What is given back is the same for every number of threads.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <vector>

namespace plait::compress {

struct VectorPalette {
  std::vector<float> entries; ///< [count, dimension], rounded to half where asked for
  std::vector<uint8_t> codes; ///< of each vector, the nearest entry; of equal ones the first
};

/// `vectors` is [n, dimension], finite, n at least 1; `count` is at most 256.
Expected<VectorPalette> vectorPalette(llvm::ArrayRef<float> vectors, unsigned dimension,
                                      unsigned count, bool halves, unsigned threads);

} // namespace plait::compress
