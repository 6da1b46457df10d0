// Corrections of low rank beside the optimum, which the singular values of small matrices say.
#include "compress/LowRank.h"

#include "llvm/Support/Error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace plait::compress {

namespace {

struct Matrix {
  size_t rows, columns;
  std::vector<float> values;
};

/// Directions whose sizes fall by `ratio` from one to the next.
Matrix falling(size_t rows, size_t columns, double ratio, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix m{rows, columns, std::vector<float>(rows * columns)};
  double size = 0.01;
  for (size_t k = 0; k < std::min(rows, columns); ++k, size *= ratio) {
    std::vector<float> a(rows), b(columns);
    for (float &x : a)
      x = normal(random);
    for (float &x : b)
      x = normal(random);
    for (size_t r = 0; r < rows; ++r)
      for (size_t c = 0; c < columns; ++c)
        m.values[r * columns + c] += float(size) * a[r] * b[c];
  }
  return m;
}

Residual residual(const Matrix &m) {
  Residual made(m.rows, m.columns);
  made.put(0, m.values);
  return made;
}

/// The least error of a matrix of a rank: what is left when power iterations have taken away one
/// singular vector after the other.
double leastError(Matrix m, unsigned rank) {
  std::vector<double> v(m.columns), u(m.rows);
  for (unsigned k = 0; k < rank; ++k) {
    for (size_t c = 0; c < m.columns; ++c)
      v[c] = std::sin(double(c + 1) * (k + 1));
    for (int i = 0; i < 500; ++i) {
      for (size_t r = 0; r < m.rows; ++r) {
        u[r] = 0;
        for (size_t c = 0; c < m.columns; ++c)
          u[r] += double(m.values[r * m.columns + c]) * v[c];
      }
      double norm = 0;
      for (size_t c = 0; c < m.columns; ++c) {
        v[c] = 0;
        for (size_t r = 0; r < m.rows; ++r)
          v[c] += double(m.values[r * m.columns + c]) * u[r];
        norm += v[c] * v[c];
      }
      for (double &x : v)
        x /= std::sqrt(norm);
    }
    for (size_t r = 0; r < m.rows; ++r) {
      u[r] = 0;
      for (size_t c = 0; c < m.columns; ++c)
        u[r] += double(m.values[r * m.columns + c]) * v[c];
    }
    for (size_t r = 0; r < m.rows; ++r)
      for (size_t c = 0; c < m.columns; ++c)
        m.values[r * m.columns + c] -= float(u[r] * v[c]);
  }
  double sum = 0;
  for (float x : m.values)
    sum += double(x) * double(x);
  return sum;
}

} // namespace

TEST(LowRank, IsNearTheOptimum) {
  for (double ratio : {0.5, 0.9, 1.0})
    for (unsigned rank : {1u, 4u, 12u}) {
      Matrix m = falling(72, 48, ratio, 3);
      LowRank found = llvm::cantFail(lowRankOf(residual(m), rank, {}, /*halves=*/false, 2));
      EXPECT_EQ(found.rank, rank);
      double total = leastError(m, 0);
      EXPECT_LE(found.error, leastError(m, rank) * 1.02 + total * 1e-5) << ratio << ' ' << rank;
      EXPECT_GE(found.error, leastError(m, rank) * 0.98 - total * 1e-5) << ratio << ' ' << rank;
    }
}

TEST(LowRank, GivesTheErrorThatIsLeft) {
  Matrix m = falling(40, 56, 0.8, 5);
  std::vector<float> importance(56, 1);
  for (size_t c = 0; c < 56; c += 7)
    importance[c] = 20;
  LowRank found = llvm::cantFail(lowRankOf(residual(m), 6, importance, /*halves=*/true, 2));
  double error = 0, heavy = 0, largest = 0;
  for (size_t r = 0; r < 40; ++r)
    for (size_t c = 0; c < 56; ++c) {
      double left = double(m.values[r * 56 + c]);
      for (unsigned k = 0; k < 6; ++k)
        left -= double(found.up[r * 6 + k]) * double(found.down[k * 56 + c]);
      error += left * left;
      heavy += left * left * double(importance[c]);
      largest = std::max(largest, std::fabs(left));
    }
  EXPECT_NEAR(found.error, error, error * 0.01);
  EXPECT_NEAR(found.heavyError, heavy, heavy * 0.01);
  EXPECT_NEAR(found.largest, largest, largest * 0.02);
  LowRank plain = llvm::cantFail(lowRankOf(residual(m), 6, {}, true, 2));
  EXPECT_LT(plain.error, found.error);
  double heavyPlain = 0;
  for (size_t r = 0; r < 40; ++r)
    for (size_t c = 0; c < 56; ++c) {
      double left = double(m.values[r * 56 + c]);
      for (unsigned k = 0; k < 6; ++k)
        left -= double(plain.up[r * 6 + k]) * double(plain.down[k * 56 + c]);
      heavyPlain += left * left * double(importance[c]);
    }
  EXPECT_LT(found.heavyError, heavyPlain);
}

TEST(LowRank, EdgesOfWhatThereIs) {
  // Nothing to correct, one row, and a rank beyond that of the matrix.
  LowRank none = llvm::cantFail(lowRankOf(Residual(8, 8), 4, {}, true, 1));
  EXPECT_EQ(none.error, 0);
  for (float x : none.up)
    EXPECT_EQ(x, 0);
  LowRank row = llvm::cantFail(lowRankOf(residual(falling(1, 30, 1, 1)), 16, {}, false, 1));
  EXPECT_EQ(row.rank, 1u);
  EXPECT_NEAR(row.error, 0, 1e-7);
}

TEST(LowRank, DoesNotDependOnThreads) {
  Matrix m = falling(300, 600, 0.95, 7);
  LowRank one = llvm::cantFail(lowRankOf(residual(m), 8, {}, true, 1));
  LowRank four = llvm::cantFail(lowRankOf(residual(m), 8, {}, true, 4));
  EXPECT_EQ(one.up, four.up);
  EXPECT_EQ(one.down, four.down);
  EXPECT_EQ(one.error, four.error);
}

} // namespace plait::compress
