// Lloyd's method, its starts, and sums in a fixed order.
#include "compress/VectorPalette.h"

#include "compress/KMeans.h"
#include "compress/Pieces.h"
#include "compress/Wide.h"
#include "support/Parallel.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace plait::compress {

namespace {

constexpr size_t kVectorsOfAPiece = 1 << 13;
constexpr unsigned kSeeds = 2;
constexpr unsigned kMostDimensions = 16;
/// Starts are compared by what becomes of them on as many vectors in so many steps; the best one
/// goes on with more vectors, and at last with all, where it is over when a step gains little.
constexpr size_t kFew = 1 << 15, kMany = 1 << 17;
constexpr unsigned kFirstSteps = 8, kSteps = 25;
constexpr double kLittle = 1e-5, kLittleOfAll = 1e-4;

class Lloyd {
public:
  Lloyd(llvm::ArrayRef<float> vectors, unsigned dimension, unsigned count, unsigned threads)
      : vectors_(vectors), dimension_(dimension), count_(count), size_(vectors.size() / dimension),
        threads_(threadsOf(threads)), codes_(size_), distances_(size_) {}

  Error improve(std::vector<float> &entries, unsigned steps, double little) {
    double before = std::numeric_limits<double>::infinity();
    for (unsigned step = 0; step < steps; ++step) {
      if (Error error = assign(entries))
        return error;
      if (!(error_ < before * (1 - little)))
        break;
      before = error_;
      move(entries);
    }
    return Error::success();
  }

  /// The nearest entry of each vector, and the sum of squared distances.
  Error assign(llvm::ArrayRef<float> entries) {
    size_t pieces = (size_ + kVectorsOfAPiece - 1) / kVectorsOfAPiece;
    std::vector<double> errors(pieces);
    Error error = parallelFor(threads_, pieces, [&](unsigned, size_t piece) -> Error {
      size_t end = std::min(size_, (piece + 1) * kVectorsOfAPiece);
      for (size_t begin = piece * kVectorsOfAPiece; begin < end; begin += kTogether)
        errors[piece] += wide(
            [&]() PLAIT_WIDE { return assign(entries, begin, std::min(kTogether, end - begin)); });
      return Error::success();
    });
    error_ = std::accumulate(errors.begin(), errors.end(), 0.0);
    return error;
  }

  /// Entries become the means of their vectors; one without vectors the vector that is worst off.
  void move(std::vector<float> &entries) {
    std::vector<double> sums(entries.size());
    std::vector<size_t> numbers(count_);
    for (size_t i = 0; i < size_; ++i) {
      ++numbers[codes_[i]];
      for (unsigned d = 0; d < dimension_; ++d)
        sums[codes_[i] * dimension_ + d] += double(vectors_[i * dimension_ + d]);
    }
    for (unsigned code = 0; code < count_; ++code) {
      if (numbers[code] == 0) {
        size_t worst =
            size_t(std::max_element(distances_.begin(), distances_.end()) - distances_.begin());
        distances_[worst] = 0;
        llvm::copy(vectors_.slice(worst * dimension_, dimension_),
                   entries.begin() + code * dimension_);
        continue;
      }
      for (unsigned d = 0; d < dimension_; ++d)
        entries[code * dimension_ + d] = float(sums[code * dimension_ + d] / double(numbers[code]));
    }
  }

  /// Means of equally many vectors each, in the order along the direction of most variance.
  std::vector<float> quantiles() const {
    std::vector<double> mean(dimension_), direction(dimension_, 1);
    for (size_t i = 0; i < vectors_.size(); ++i)
      mean[i % dimension_] += double(vectors_[i]) / double(size_);
    for (int step = 0; step < 8; ++step) { // the power method
      std::vector<double> next(dimension_);
      for (size_t i = 0; i < size_; ++i) {
        double along = 0;
        for (unsigned d = 0; d < dimension_; ++d)
          along += (double(vectors_[i * dimension_ + d]) - mean[d]) * direction[d];
        for (unsigned d = 0; d < dimension_; ++d)
          next[d] += (double(vectors_[i * dimension_ + d]) - mean[d]) * along;
      }
      double length = std::sqrt(std::inner_product(next.begin(), next.end(), next.begin(), 0.0));
      if (!(length > 0))
        break;
      for (unsigned d = 0; d < dimension_; ++d)
        direction[d] = next[d] / length;
    }
    std::vector<std::pair<float, uint32_t>> order(size_);
    for (size_t i = 0; i < size_; ++i) {
      double along = 0;
      for (unsigned d = 0; d < dimension_; ++d)
        along += double(vectors_[i * dimension_ + d]) * direction[d];
      order[i] = {float(along), uint32_t(i)};
    }
    llvm::sort(order);
    std::vector<float> entries;
    for (unsigned code = 0; code < count_; ++code) {
      size_t begin = size_ * code / count_, end = std::max(begin + 1, size_ * (code + 1) / count_);
      for (unsigned d = 0; d < dimension_; ++d) {
        double sum = 0;
        for (size_t i = begin; i < end && i < size_; ++i)
          sum += double(vectors_[order[i].second * dimension_ + d]);
        entries.push_back(float(sum / double(end - begin)));
      }
    }
    return entries;
  }

  /// k-means++: vectors by chance, far ones more likely. Of many a sample is enough.
  std::vector<float> seeds(unsigned seed) const {
    std::mt19937 random(seed);
    // Of one definition, unlike the distributions of the standard library.
    auto below = [&](double limit) { return double(random()) / 4294967296.0 * limit; };
    size_t sample = std::min(size_, kFew);
    std::vector<size_t> chosen(sample);
    for (size_t i = 0; i < sample; ++i)
      chosen[i] = size_ * i / sample;
    std::vector<double> far(sample, std::numeric_limits<double>::max());
    std::vector<float> entries;
    size_t next = chosen[size_t(below(double(sample)))];
    for (unsigned code = 0; code < count_; ++code) {
      llvm::ArrayRef<float> entry = vectors_.slice(next * dimension_, dimension_);
      llvm::append_range(entries, entry);
      double total = 0;
      for (size_t i = 0; i < sample; ++i) {
        double distance = 0;
        for (unsigned d = 0; d < dimension_; ++d) {
          double off = double(vectors_[chosen[i] * dimension_ + d]) - double(entry[d]);
          distance += off * off;
        }
        far[i] = std::min(far[i], distance);
        total += far[i];
      }
      double at = below(total);
      size_t i = 0;
      while (i + 1 < sample && at >= far[i])
        at -= far[i++];
      next = chosen[i];
    }
    return entries;
  }

  double error() const { return error_; }
  std::vector<uint8_t> &codes() { return codes_; }

private:
  static constexpr size_t kTogether = 64;

  /// Of some vectors, at most kTogether; the first of entries that are as near.
  double assign(llvm::ArrayRef<float> entries, size_t begin, size_t count) {
    float turned[kMostDimensions][kTogether] = {}, least[kTogether], distances[kTogether];
    int nearest[kTogether] = {};
    for (size_t i = 0; i < count; ++i)
      for (unsigned d = 0; d < dimension_; ++d)
        turned[d][i] = vectors_[(begin + i) * dimension_ + d];
    std::fill_n(least, kTogether, std::numeric_limits<float>::infinity());
    for (unsigned code = 0; code < count_; ++code) {
      const float *entry = entries.data() + size_t(code) * dimension_;
      for (size_t i = 0; i < kTogether; ++i)
        distances[i] = (turned[0][i] - entry[0]) * (turned[0][i] - entry[0]);
      for (unsigned d = 1; d < dimension_; ++d)
        for (size_t i = 0; i < kTogether; ++i)
          distances[i] += (turned[d][i] - entry[d]) * (turned[d][i] - entry[d]);
      for (size_t i = 0; i < kTogether; ++i) {
        nearest[i] = distances[i] < least[i] ? int(code) : nearest[i];
        least[i] = distances[i] < least[i] ? distances[i] : least[i];
      }
    }
    double error = 0;
    for (size_t i = 0; i < count; ++i) {
      codes_[begin + i] = uint8_t(nearest[i]);
      distances_[begin + i] = least[i];
      error += double(least[i]);
    }
    return error;
  }

  llvm::ArrayRef<float> vectors_;
  unsigned dimension_, count_;
  size_t size_;
  unsigned threads_;
  std::vector<uint8_t> codes_;
  std::vector<float> distances_;
  double error_ = 0;
};

} // namespace

/// The entries that the best start leads to.
static Expected<std::vector<float>> bestStart(Lloyd &lloyd) {
  std::vector<float> best;
  double least = std::numeric_limits<double>::infinity();
  for (unsigned start = 0; start <= kSeeds; ++start) {
    std::vector<float> entries = start == 0 ? lloyd.quantiles() : lloyd.seeds(start);
    if (Error error = lloyd.improve(entries, kFirstSteps, kLittle))
      return error;
    if (lloyd.error() < least) {
      least = lloyd.error();
      best = std::move(entries);
    }
  }
  return best;
}

Expected<VectorPalette> vectorPalette(llvm::ArrayRef<float> vectors, unsigned dimension,
                                      unsigned count, bool halves, unsigned threads) {
  size_t size = vectors.size() / dimension;
  std::vector<float> entries;
  for (size_t part : {kFew, kMany}) {
    if (!entries.empty() && size <= part)
      break;
    std::vector<float> sample;
    for (size_t i = 0; size > part && i < part; ++i)
      llvm::append_range(sample, vectors.slice(size * i / part * dimension, dimension));
    Lloyd some(sample.empty() ? vectors : llvm::ArrayRef(sample), dimension, count, threads);
    if (entries.empty()) {
      auto start = bestStart(some);
      if (!start)
        return start.takeError();
      entries = std::move(*start);
    }
    if (Error error = some.improve(entries, kSteps, kLittle))
      return error;
  }
  Lloyd all(vectors, dimension, count, threads);
  if (size > kFew)
    if (Error error = all.improve(entries, kSteps, kLittleOfAll))
      return error;
  if (halves)
    for (float &entry : entries)
      entry = float(roundedToHalf(entry));
  if (Error error = all.assign(entries))
    return error;
  return VectorPalette{std::move(entries), all.codes()};
}

} // namespace plait::compress
