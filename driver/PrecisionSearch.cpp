// Splitting groups by what they do, then taking back what is not needed.
#include "driver/PrecisionSearch.h"

#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <cmath>

namespace plait::driver {

namespace {

/// Groups are not split further than into so many: a measurement runs every function.
constexpr unsigned kMostGroups = 1024;

/// Neighbouring units, and what they do when they alone are in fp16.
struct UnitGroup {
  unsigned begin, end;
  std::vector<double> noise;
  unsigned size() const { return end - begin; }
};

class Search {
public:
  Search(unsigned count, double bar, const MeasureNoise &measure)
      : count_(count), bar_(bar), measure_(measure) {}

  Expected<PrecisionSearch> run();

private:
  Expected<std::vector<double>> measure(const std::vector<bool> &wide) {
    ++found_.trials;
    return measure_(wide);
  }
  Expected<double> worst(const std::vector<bool> &wide) {
    auto noise = measure(wide);
    if (!noise)
      return noise.takeError();
    return noise->empty() ? 0 : *llvm::max_element(*noise);
  }
  Expected<UnitGroup> alone(unsigned begin, unsigned end) {
    std::vector<bool> wide(count_, true);
    std::fill(wide.begin() + begin, wide.begin() + end, false);
    auto noise = measure(wide);
    if (!noise)
      return noise.takeError();
    return UnitGroup{begin, end, std::move(*noise)};
  }
  /// Puts units in fp32 until the groups that are left do no more than `target` together.
  Error reduceTo(double target);
  Error takeBack();

  unsigned count_;
  double bar_;
  const MeasureNoise &measure_;
  std::vector<UnitGroup> groups_;
  std::vector<bool> wide_;
  std::vector<std::pair<double, unsigned>> taken_; ///< what each does alone, and the unit
  PrecisionSearch found_;
};

Error Search::reduceTo(double target) {
  unsigned smallest = std::max(1u, count_ / kMostGroups);
  while (!groups_.empty()) {
    std::vector<double> total(groups_[0].noise.size());
    for (const UnitGroup &group : groups_)
      for (size_t i = 0; i < total.size(); ++i)
        total[i] += group.noise[i];
    size_t worst = size_t(llvm::max_element(total) - total.begin());
    if (total.empty() || total[worst] <= target)
      return Error::success();
    auto most = llvm::max_element(groups_, [&](const UnitGroup &a, const UnitGroup &b) {
      return a.noise[worst] < b.noise[worst];
    });
    UnitGroup group = std::move(*most);
    groups_.erase(most);
    if (group.size() <= smallest) {
      for (unsigned unit = group.begin; unit < group.end; ++unit) {
        wide_[unit] = true;
        taken_.emplace_back(group.noise[worst], unit);
      }
      continue;
    }
    unsigned middle = group.begin + group.size() / 2;
    for (auto [begin, end] : {std::pair{group.begin, middle}, {middle, group.end}}) {
      auto half = alone(begin, end);
      if (!half)
        return half.takeError();
      groups_.push_back(std::move(*half));
    }
  }
  return Error::success();
}

/// Tries each in fp16 again, those that do least first, many at a time while that succeeds.
Error Search::takeBack() {
  llvm::sort(taken_);
  std::vector<unsigned> order;
  for (auto [noise, unit] : taken_)
    order.push_back(unit);
  std::vector<double> without(count_, 0);
  for (size_t chunk = std::max<size_t>(1, order.size() / 2);; chunk /= 2) {
    for (size_t at = 0; at < order.size();) {
      size_t end = std::min(order.size(), at + chunk);
      std::vector<bool> fewer = wide_;
      for (size_t i = at; i < end; ++i)
        fewer[order[i]] = false;
      auto noise = worst(fewer);
      if (!noise)
        return noise.takeError();
      if (*noise <= bar_) {
        wide_ = std::move(fewer);
        found_.after = *noise;
        order.erase(order.begin() + long(at), order.begin() + long(end));
        continue;
      }
      for (size_t i = at; i < end; ++i)
        without[order[i]] = *noise;
      at = end;
    }
    if (chunk == 1)
      break;
  }
  llvm::sort(order);
  for (unsigned unit : order)
    found_.kept.push_back({unit, without[unit]});
  return Error::success();
}

Expected<PrecisionSearch> Search::run() {
  wide_.assign(count_, false);
  auto all = alone(0, count_);
  if (!all)
    return all.takeError();
  found_.before = found_.after = all->noise.empty() ? 0 : *llvm::max_element(all->noise);
  if (found_.before <= bar_)
    return std::move(found_);
  auto least = worst(std::vector<bool>(count_, true));
  if (!least)
    return least.takeError();
  if (*least > bar_)
    return makeError(Code::PrecisionUnreached,
                     "with every operation in fp32 the outputs reach {0:.1f} dB",
                     toDecibels(*least));
  groups_.push_back(std::move(*all));
  // Where errors add up in a worse way than powers do, less is allowed to each.
  for (double target = bar_;; target = target > 1e-9 * bar_ ? target / 8 : -1) {
    if (Error error = reduceTo(target))
      return error;
    auto noise = worst(wide_);
    if (!noise)
      return noise.takeError();
    found_.after = *noise;
    if (*noise <= bar_)
      break;
  }
  if (Error error = takeBack())
    return error;
  return std::move(found_);
}

} // namespace

Expected<PrecisionSearch> searchPrecision(unsigned count, double bar, const MeasureNoise &measure) {
  return Search(count, bar, measure).run();
}

double toDecibels(double noise) { return -10 * std::log10(noise); }
double toNoise(double decibels) { return std::pow(10, -decibels / 10); }

} // namespace plait::driver
