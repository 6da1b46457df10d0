// The part of an error that a product of two thin matrices takes away.
//
//   W = stored(W) + E,  E ≈ up · down        E [out, in], up [out, rank], down [rank, in]
//
// Of all matrices of that rank the product is nearest to E in squares, those of an input weighed by
// its importance: the first singular vectors of E D, where D has the square roots. They are found
// by a randomised method (Halko, Martinsson & Tropp 2011) whose random directions are always the
// same, so that the result is that of the numbers alone.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>
#include <vector>

namespace plait::compress {

/// E, as bfloat16: 2 bytes a number, whose rounding is noise 50 dB below what is corrected.
class Residual {
public:
  Residual(size_t rows, size_t columns) : rows_(rows), columns_(columns), errors_(rows * columns) {}

  size_t rows() const { return rows_; }
  size_t columns() const { return columns_; }
  /// The numbers from `begin` on, row by row.
  void put(size_t begin, llvm::ArrayRef<float> errors);
  /// The columns [begin, end) of a row.
  void read(size_t row, size_t begin, size_t end, float *out) const;

private:
  size_t rows_, columns_;
  std::vector<uint16_t> errors_;
};

struct LowRank {
  unsigned rank = 0;           ///< as asked for, or of the smaller side of E
  std::vector<float> up, down; ///< rounded to half where asked for
  /// Of E - up · down: the sum of squares, also by importance, and the largest magnitude.
  double error = 0, heavyError = 0, largest = 0;
};

/// `importance` is of the columns; empty: all count alike.
Expected<LowRank> lowRankOf(const Residual &residual, unsigned rank,
                            llvm::ArrayRef<float> importance, bool halves, unsigned threads);

} // namespace plait::compress
