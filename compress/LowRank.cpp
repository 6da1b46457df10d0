// A range finder with power iterations, and the singular vectors of what it finds.
#include "compress/LowRank.h"

#include "compress/Pieces.h"
#include "support/Half.h"
#include "support/Parallel.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/bit.h"

#include <algorithm>
#include <cmath>

namespace plait::compress {

/// Directions beyond the rank, without which the last ones would be found badly.
static constexpr size_t kMoreDirections = 8;
static constexpr unsigned kPowerIterations = 3;
/// Rows and columns that are one item of work. Sums are cut by them alone.
static constexpr size_t kRows = 64, kColumns = 256;
/// Inputs that count for less are taken to count for as much: a column of `down` is divided by it.
static constexpr float kLeastImportance = 1e-3F;

void Residual::put(size_t begin, llvm::ArrayRef<float> errors) {
  uint16_t *to = errors_.data() + begin;
  for (float error : errors) {
    auto bits = llvm::bit_cast<uint32_t>(error);
    *to++ = uint16_t((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  }
}

void Residual::read(size_t row, size_t begin, size_t end, float *out) const {
  bfloat16ToFloat(errors_.data() + row * columns_ + begin, out, end - begin);
}

namespace {

/// [count, width], row by row.
struct Thin {
  Thin(size_t count, size_t width) : count(count), width(width), values(count * width) {}
  float *row(size_t i) { return values.data() + i * width; }
  const float *row(size_t i) const { return values.data() + i * width; }

  size_t count, width;
  std::vector<float> values;
};

class RangeFinder {
public:
  RangeFinder(const Residual &residual, std::vector<float> factors, unsigned threads)
      : residual_(residual), factors_(std::move(factors)), threads_(threadsOf(threads)) {}

  /// E D x.
  Expected<Thin> times(const Thin &x) const { return product(x, /*isTransposed=*/false); }
  /// (E D)' y.
  Expected<Thin> timesTransposed(const Thin &y) const { return product(y, /*isTransposed=*/true); }

private:
  Expected<Thin> product(const Thin &given, bool isTransposed) const;
  void read(size_t row, size_t begin, size_t end, std::vector<float> &out) const {
    out.resize(end - begin);
    residual_.read(row, begin, end, out.data());
    for (size_t i = 0; i < out.size() && !factors_.empty(); ++i)
      out[i] *= factors_[begin + i];
  }

  const Residual &residual_;
  std::vector<float> factors_; ///< D; empty: ones
  unsigned threads_;
};

Expected<Thin> RangeFinder::product(const Thin &given, bool isTransposed) const {
  Thin made(isTransposed ? residual_.columns() : residual_.rows(), given.width);
  size_t step = isTransposed ? kColumns : kRows;
  std::vector<std::vector<float>> buffers(threads_);
  auto multiply = [&](unsigned worker, size_t item) -> Error {
    // Some columns of all rows, or some rows of all columns.
    size_t begin = item * step, end = std::min(made.count, begin + step);
    size_t firstRow = isTransposed ? 0 : begin, lastRow = isTransposed ? given.count : end;
    size_t first = isTransposed ? begin : 0, last = isTransposed ? end : given.count;
    std::vector<float> &line = buffers[worker];
    for (size_t r = firstRow; r < lastRow; ++r) {
      read(r, first, last, line);
      for (size_t c = first; c < last; ++c) {
        float *to = made.row(isTransposed ? c : r);
        const float *from = given.row(isTransposed ? r : c);
        for (size_t k = 0; k < made.width; ++k)
          to[k] += line[c - first] * from[k];
      }
    }
    return Error::success();
  };
  if (Error error = parallelFor(threads_, (made.count + step - 1) / step, multiply))
    return error;
  return made;
}

/// Columns of length one, each orthogonal to those before it; zeros where nothing is left of one.
void orthonormalise(Thin &y) {
  std::vector<std::vector<double>> columns(y.width, std::vector<double>(y.count));
  for (size_t i = 0; i < y.count; ++i)
    for (size_t k = 0; k < y.width; ++k)
      columns[k][i] = double(y.row(i)[k]);
  auto dot = [&](const std::vector<double> &a, const std::vector<double> &b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i)
      sum += a[i] * b[i];
    return sum;
  };
  for (size_t k = 0; k < y.width; ++k) {
    double before = dot(columns[k], columns[k]);
    // Twice: what rounding leaves of the others after the first time goes.
    for (int time = 0; time < 2; ++time)
      for (size_t other = 0; other < k; ++other) {
        double along = dot(columns[k], columns[other]);
        for (size_t i = 0; i < y.count; ++i)
          columns[k][i] -= along * columns[other][i];
      }
    double after = dot(columns[k], columns[k]);
    double factor = after > before * 1e-12 && after > 0 ? 1 / std::sqrt(after) : 0;
    for (double &value : columns[k])
      value *= factor;
  }
  for (size_t i = 0; i < y.count; ++i)
    for (size_t k = 0; k < y.width; ++k)
      y.row(i)[k] = float(columns[k][i]);
}

/// Eigenvectors of a symmetric matrix [n, n] as the columns of what is given back, and in the
/// diagonal of `matrix` their eigenvalues: Jacobi's method.
std::vector<double> diagonalise(std::vector<double> &matrix, size_t n) {
  std::vector<double> vectors(n * n);
  for (size_t i = 0; i < n; ++i)
    vectors[i * n + i] = 1;
  for (int sweep = 0; sweep < 30; ++sweep) {
    double off = 0, all = 0;
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j)
        (i == j ? all : off) += matrix[i * n + j] * matrix[i * n + j];
    if (off <= all * 1e-20)
      break;
    for (size_t p = 0; p < n; ++p)
      for (size_t q = p + 1; q < n; ++q) {
        double pq = matrix[p * n + q];
        if (pq == 0)
          continue;
        double theta = (matrix[q * n + q] - matrix[p * n + p]) / (2 * pq);
        double t = (theta < 0 ? -1 : 1) / (std::fabs(theta) + std::sqrt(theta * theta + 1));
        double c = 1 / std::sqrt(t * t + 1), s = t * c;
        auto turn = [&](double &a, double &b) {
          double x = a, y = b;
          a = c * x - s * y;
          b = s * x + c * y;
        };
        for (size_t k = 0; k < n; ++k)
          turn(matrix[k * n + p], matrix[k * n + q]);
        for (size_t k = 0; k < n; ++k)
          turn(matrix[p * n + k], matrix[q * n + k]);
        for (size_t k = 0; k < n; ++k)
          turn(vectors[k * n + p], vectors[k * n + q]);
      }
  }
  return vectors;
}

/// Signs from a counter (splitmix64): the same everywhere.
Thin randomSigns(size_t count, size_t width) {
  Thin signs(count, width);
  uint64_t state = 0;
  for (float &value : signs.values) {
    uint64_t z = (state += 0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    value = (z ^ (z >> 31)) & 1 ? 1.0F : -1.0F;
  }
  return signs;
}

void roundToHalves(std::vector<float> &values) {
  std::vector<uint16_t> halves(values.size());
  floatToHalf(values.data(), halves.data(), values.size());
  halfToFloat(halves.data(), values.data(), values.size());
}

/// What is left of E.
Error measure(const Residual &residual, llvm::ArrayRef<float> importance, unsigned threads,
              LowRank &found) {
  size_t items = (residual.rows() + kRows - 1) / kRows, columns = residual.columns();
  struct Sums {
    double error = 0, heavy = 0, largest = 0;
  };
  std::vector<Sums> sums(items);
  std::vector<std::vector<float>> buffers(threadsOf(threads));
  Error failure = parallelFor(threads, items, [&](unsigned worker, size_t item) -> Error {
    std::vector<float> &line = buffers[worker];
    line.resize(columns);
    for (size_t r = item * kRows; r < std::min(residual.rows(), (item + 1) * kRows); ++r) {
      residual.read(r, 0, columns, line.data());
      for (unsigned k = 0; k < found.rank; ++k) {
        float factor = found.up[r * found.rank + k];
        const float *row = found.down.data() + k * columns;
        for (size_t c = 0; c < columns; ++c)
          line[c] -= factor * row[c];
      }
      for (size_t c = 0; c < columns; ++c) {
        double square = double(line[c]) * double(line[c]);
        sums[item].error += square;
        sums[item].heavy += square * (importance.empty() ? 1 : double(importance[c]));
        sums[item].largest = std::max(sums[item].largest, std::fabs(double(line[c])));
      }
    }
    return Error::success();
  });
  for (const Sums &sum : sums) {
    found.error += sum.error;
    found.heavyError += sum.heavy;
    found.largest = std::max(found.largest, sum.largest);
  }
  return failure;
}

} // namespace

Expected<LowRank> lowRankOf(const Residual &residual, unsigned rank,
                            llvm::ArrayRef<float> importance, bool halves, unsigned threads) {
  size_t smaller = std::min(residual.rows(), residual.columns());
  LowRank found;
  found.rank = unsigned(std::min<size_t>(rank, smaller));
  size_t width = std::min(smaller, found.rank + kMoreDirections);
  std::vector<float> factors;
  for (float one : importance)
    factors.push_back(std::sqrt(std::max(one, kLeastImportance)));
  RangeFinder finder(residual, factors, threads);
  auto y = finder.times(randomSigns(residual.columns(), width));
  for (unsigned i = 0; y && i < kPowerIterations; ++i) {
    orthonormalise(*y);
    auto x = finder.timesTransposed(*y);
    if (!x)
      return x.takeError();
    orthonormalise(*x);
    y = finder.times(*x);
  }
  if (!y)
    return y.takeError();
  orthonormalise(*y);
  // E D ≈ Q T' with T = (E D)' Q, and T = (its left vectors) S V'.
  auto t = finder.timesTransposed(*y);
  if (!t)
    return t.takeError();
  std::vector<double> gram(width * width);
  for (size_t c = 0; c < t->count; ++c)
    for (size_t i = 0; i < width; ++i)
      for (size_t j = 0; j < width; ++j)
        gram[i * width + j] += double(t->row(c)[i]) * double(t->row(c)[j]);
  std::vector<double> vectors = diagonalise(gram, width);
  std::vector<size_t> order(width);
  for (size_t i = 0; i < width; ++i)
    order[i] = i;
  llvm::stable_sort(order,
                    [&](size_t a, size_t b) { return gram[a * width + a] > gram[b * width + b]; });
  found.up.resize(residual.rows() * found.rank);
  found.down.resize(found.rank * residual.columns());
  for (unsigned k = 0; k < found.rank; ++k) {
    size_t at = order[k];
    // Half of each singular value goes into either factor: both then have numbers of one size.
    double root = std::sqrt(std::sqrt(std::max(0.0, gram[at * width + at])));
    auto along = [&](const float *row) {
      double sum = 0;
      for (size_t i = 0; i < width; ++i)
        sum += double(row[i]) * vectors[i * width + at];
      return sum;
    };
    for (size_t r = 0; r < residual.rows(); ++r)
      found.up[r * found.rank + k] = float(along(y->row(r)) * root);
    for (size_t c = 0; c < residual.columns(); ++c)
      found.down[k * residual.columns() + c] =
          root > 0 ? float(along(t->row(c)) / root / (factors.empty() ? 1 : double(factors[c])))
                   : 0;
  }
  if (halves) {
    roundToHalves(found.up);
    roundToHalves(found.down);
  }
  if (Error error = measure(residual, importance, threads, found))
    return error;
  return found;
}

} // namespace plait::compress
