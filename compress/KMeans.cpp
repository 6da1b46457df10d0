// The cheapest clustering for a price, the search for the price, and the splice.
#include "compress/KMeans.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/bit.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace plait::compress {

double roundedToHalf(double value) {
  double magnitude = std::fabs(value);
  if (magnitude < 0x1p-14) { // to multiples of 2^-24
    constexpr double shift = 0x1.8p28;
    return std::copysign(magnitude + shift - shift, value);
  }
  if (!(magnitude < 65520)) // what is nearer to the next power of two than to 65504; and NaN
    return magnitude >= 65520 ? std::copysign(std::numeric_limits<double>::infinity(), value)
                              : value;
  // 10 binary digits of 52 stay; a carry goes into the exponent.
  constexpr unsigned dropped = 42;
  auto bits = llvm::bit_cast<uint64_t>(value);
  bits += (uint64_t(1) << (dropped - 1)) - 1 + (bits >> dropped & 1);
  return llvm::bit_cast<double>(bits >> dropped << dropped);
}

namespace {

/// A clustering into runs: where each begins, and the end.
using Cuts = std::vector<uint32_t>;

class Clustering {
public:
  Clustering(llvm::ArrayRef<WeightedValue> points, bool halves)
      : halves_(halves), size_(uint32_t(points.size())), weight_(size_ + 1), first_(size_ + 1),
        second_(size_ + 1), best_(size_ + 1), from_(size_ + 1) {
    // Sums about the mean: their differences keep more digits.
    double weight = 0, sum = 0;
    for (const WeightedValue &point : points) {
      weight += point.weight;
      sum += point.weight * point.value;
    }
    centre_ = sum / weight;
    for (uint32_t i = 0; i < size_; ++i) {
      double value = points[i].value - centre_, w = points[i].weight;
      weight_[i + 1] = weight_[i] + w;
      first_[i + 1] = first_[i] + w * value;
      second_[i + 1] = second_[i] + w * value * value;
    }
  }

  Cuts best(unsigned clusters, double &start) {
    // What a Gauss distribution asks for: its error is 2.72 variances by the square of k.
    double total = std::max(second_[size_], std::numeric_limits<double>::min());
    double unit = 5.4 * total / (double(clusters) * clusters * clusters), price = unit * start;
    double low = 0, high = total * 2 + 1; // with more clusters, with one
    Cuts more, fewer{0, size_};
    more.resize(size_ + 1);
    for (uint32_t i = 0; i <= size_; ++i)
      more[i] = i;
    for (unsigned step = 0; step < kMostSteps && high - low > high * kSamePrice; ++step) {
      if (!(price > low && price < high))
        price = low > 0 ? std::sqrt(low * high) : high / 1024;
      Cuts cuts = cheapest(price);
      size_t found = cuts.size() - 1;
      if (found == clusters) {
        start = price / unit;
        return cuts;
      }
      (found > clusters ? low : high) = price;
      (found > clusters ? more : fewer) = std::move(cuts);
      // The number goes with the cube root of the price, more or less; now and then halve what is
      // left, so that it ends in any case.
      double ratio = double(found) / clusters;
      price = step % 4 == 3 && low > 0 ? std::sqrt(low * high) : price * ratio * ratio * ratio;
    }
    return splice(fewer, more, clusters);
  }

  /// The entry of the run [begin, end).
  double entry(uint32_t begin, uint32_t end) const {
    double mean = (first_[end] - first_[begin]) / (weight_[end] - weight_[begin]) + centre_;
    return halves_ ? roundedToHalf(mean) : mean;
  }

private:
  static constexpr unsigned kMostSteps = 200;
  static constexpr double kSamePrice = 1e-14;

  /// The squared error of the run [begin, end) to its entry.
  double cost(uint32_t begin, uint32_t end) const {
    double weight = weight_[end] - weight_[begin], sum = first_[end] - first_[begin];
    double mean = sum / weight;
    double error = second_[end] - second_[begin] - sum * mean;
    if (halves_) {
      double off = nearHalf(mean + centre_) - (mean + centre_);
      error += weight * off * off;
    }
    return error;
  }

  /// The nearest number of 11 binary digits, none beyond 2^-24: cheaper than roundedToHalf(), and
  /// the same but for ties and overflow.
  static double nearHalf(double value) {
    constexpr double split = double((uint64_t(1) << 42) + 1);
    if (std::fabs(value) < 0x1p-14) { // subnormal
      constexpr double shift = 0x1.8p28;
      return value + shift - shift;
    }
    double scaled = split * value;
    return scaled - (scaled - value);
  }

  /// The clustering of least error plus `price` for each run.
  Cuts cheapest(double price) {
    best_[0] = 0;
    queue_.clear();
    queue_.push_back({0, 1});
    size_t front = 0;
    for (uint32_t end = 1; end <= size_; ++end) {
      while (front + 1 < queue_.size() && queue_[front + 1].since <= end)
        ++front;
      uint32_t begin = queue_[front].begin;
      best_[end] = best_[begin] + cost(begin, end) + price;
      from_[end] = begin;
      if (end < size_)
        offer(end, front);
    }
    Cuts cuts;
    for (uint32_t at = size_; at > 0; at = from_[at])
      cuts.push_back(at);
    cuts.push_back(0);
    std::reverse(cuts.begin(), cuts.end());
    return cuts;
  }

  /// A last run that begins at `begin`: from some end on it is cheaper than those before it.
  void offer(uint32_t begin, size_t front) {
    auto beats = [&](uint32_t other, uint32_t end) {
      return best_[begin] + cost(begin, end) < best_[other] + cost(other, end);
    };
    if (!beats(queue_.back().begin, size_))
      return;
    while (queue_.size() > front + 1 &&
           beats(queue_.back().begin, std::max(queue_.back().since, begin + 1)))
      queue_.pop_back();
    // In (low, high] there is the first end for which it is.
    uint32_t low = std::max(queue_.back().since, begin + 1) - 1, high = size_;
    uint32_t other = queue_.back().begin;
    // Most often close to where the one before it was: steps that double find the interval.
    for (uint32_t step = 2; low + step < high; step *= 2) {
      if (beats(other, low + step)) {
        high = low + step;
        break;
      }
      low += step;
    }
    while (high - low > 1) {
      uint32_t middle = low + (high - low) / 2;
      (beats(other, middle) ? high : low) = middle;
    }
    queue_.push_back({begin, high});
  }

  /// `clusters` runs out of an optimum of fewer and one of more, for one price: the first runs of
  /// the one, then the last ones of the other. Where a run of `fewer` holds one of `more`, the two
  /// change over at no cost.
  static Cuts splice(const Cuts &fewer, const Cuts &more, unsigned clusters) {
    size_t ahead = clusters - (fewer.size() - 1);
    for (size_t i = 0; i + 1 < fewer.size(); ++i)
      if (more[i + ahead] >= fewer[i] && more[i + ahead + 1] <= fewer[i + 1]) {
        Cuts cuts(more.begin(), more.begin() + i + ahead + 1);
        cuts.insert(cuts.end(), fewer.begin() + i + 1, fewer.end());
        return cuts;
      }
    llvm_unreachable("the difference of the cuts changes its sign somewhere");
  }

  struct Candidate {
    uint32_t begin; ///< of the last run
    uint32_t since; ///< the first end for which it is the best
  };

  const bool halves_;
  const uint32_t size_;
  double centre_ = 0;
  std::vector<double> weight_, first_, second_; ///< sums of the moments before each point
  std::vector<double> best_;                    ///< the price of all before
  std::vector<uint32_t> from_;                  ///< where the last run of that begins
  std::vector<Candidate> queue_;
};

} // namespace

std::vector<float> optimalPalette(llvm::ArrayRef<WeightedValue> points, unsigned entries,
                                  bool halves, double *price) {
  std::vector<float> palette;
  if (points.size() <= entries) {
    for (const WeightedValue &point : points)
      palette.push_back(float(halves ? roundedToHalf(point.value) : point.value));
  } else {
    Clustering clustering(points, halves);
    double gauss = 1;
    Cuts cuts = clustering.best(entries, price ? *price : gauss);
    for (size_t i = 0; i + 1 < cuts.size(); ++i)
      palette.push_back(float(clustering.entry(cuts[i], cuts[i + 1])));
  }
  palette.resize(entries, palette.back());
  return palette;
}

} // namespace plait::compress
