// Steps along convex hulls, in the order of what a byte takes away.
#include "compress/Choice.h"

#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace plait::compress {

namespace {

/// Rounds in which outputs are weighed anew.
constexpr unsigned kRounds = 24;

/// From one form of a weight to the next larger one of its hull.
struct Step {
  unsigned weight, from, to;
  uint64_t bytes;
  double gain; ///< of error, a byte
};

/// The lower convex hull of (bytes, error), by ascending bytes.
std::vector<unsigned> hullOf(llvm::ArrayRef<Form> forms) {
  std::vector<unsigned> order(forms.size());
  for (unsigned i = 0; i < order.size(); ++i)
    order[i] = i;
  llvm::stable_sort(order, [&](unsigned a, unsigned b) {
    return forms[a].bytes != forms[b].bytes ? forms[a].bytes < forms[b].bytes
                                            : forms[a].error < forms[b].error;
  });
  auto slope = [&](unsigned a, unsigned b) {
    return (forms[a].error - forms[b].error) / double(forms[b].bytes - forms[a].bytes);
  };
  std::vector<unsigned> hull;
  for (unsigned form : order) {
    if (!hull.empty() && !(forms[form].error < forms[hull.back()].error))
      continue;
    while (hull.size() > 1 && slope(hull[hull.size() - 2], hull.back()) <= slope(hull.back(), form))
      hull.pop_back();
    hull.push_back(form);
  }
  return hull;
}

class Chooser {
public:
  explicit Chooser(const FormProblem &problem) : problem_(problem) {
    for (auto [weight, forms] : llvm::enumerate(problem.forms)) {
      std::vector<unsigned> hull = hullOf(forms);
      smallest_.push_back(hull.front());
      bytes_ += forms[hull.front()].bytes;
      for (size_t i = 0; i + 1 < hull.size(); ++i) {
        uint64_t more = forms[hull[i + 1]].bytes - forms[hull[i]].bytes;
        steps_.push_back({unsigned(weight), hull[i], hull[i + 1], more,
                          (forms[hull[i]].error - forms[hull[i + 1]].error) / double(more)});
      }
    }
    outputs_ = problem.sensitivity.empty() ? 0 : problem.sensitivity.front().size();
  }

  std::optional<std::vector<unsigned>> within(uint64_t bytes);
  std::optional<std::vector<unsigned>> below(llvm::ArrayRef<double> bars);

private:
  double gainOf(const Step &step, size_t output) const {
    return step.gain * double(step.bytes) * problem_.sensitivity[step.weight][output];
  }
  /// Calls `attempt` with the weights of the outputs, which gives the noises it came to; those that
  /// are large by their bars weigh more the next time.
  template <typename Attempt> void reweigh(llvm::ArrayRef<double> bars, Attempt attempt);
  std::vector<Step> ordered(llvm::ArrayRef<double> weights) const;
  std::vector<double> start() const { return noiseOf(problem_, smallest_); }

  const FormProblem &problem_;
  std::vector<unsigned> smallest_;
  uint64_t bytes_ = 0; ///< of the smallest forms
  std::vector<Step> steps_;
  size_t outputs_ = 0;
};

std::vector<Step> Chooser::ordered(llvm::ArrayRef<double> weights) const {
  std::vector<double> factors;
  for (const auto &sensitivity : problem_.sensitivity) {
    double factor = 0;
    for (size_t i = 0; i < outputs_; ++i)
      factor += weights[i] * sensitivity[i];
    factors.push_back(factor);
  }
  // Steps of one weight stay in their order: along a hull the gain falls.
  std::vector<Step> steps = steps_;
  llvm::stable_sort(steps, [&](const Step &a, const Step &b) {
    return a.gain * factors[a.weight] > b.gain * factors[b.weight];
  });
  return steps;
}

template <typename Attempt> void Chooser::reweigh(llvm::ArrayRef<double> bars, Attempt attempt) {
  std::vector<double> weights;
  for (double bar : bars)
    weights.push_back(bar > 0 ? 1 / bar : 1);
  for (unsigned round = 0; round < kRounds; ++round) {
    std::vector<double> noise = attempt(ordered(weights));
    double most = 0;
    for (size_t i = 0; i < outputs_; ++i)
      most = std::max(most, bars[i] > 0 ? noise[i] / bars[i] : 0);
    if (outputs_ < 2 || !(most > 0))
      return;
    for (size_t i = 0; i < outputs_; ++i)
      if (bars[i] > 0)
        weights[i] *= std::max(0.5, std::sqrt(noise[i] / bars[i] / most));
  }
}

std::optional<std::vector<unsigned>> Chooser::within(uint64_t bytes) {
  if (bytes_ > bytes)
    return std::nullopt;
  std::vector<unsigned> best = smallest_;
  double least = std::numeric_limits<double>::infinity();
  reweigh(std::vector<double>(outputs_, 1), [&](llvm::ArrayRef<Step> steps) {
    std::vector<unsigned> chosen = smallest_;
    uint64_t left = bytes - bytes_;
    for (const Step &step : steps)
      if (chosen[step.weight] == step.from && step.bytes <= left) {
        chosen[step.weight] = step.to;
        left -= step.bytes;
      }
    std::vector<double> noise = noiseOf(problem_, chosen);
    double most = noise.empty() ? 0 : *llvm::max_element(noise);
    if (most < least) {
      least = most;
      best = chosen;
    }
    return noise;
  });
  return best;
}

std::optional<std::vector<unsigned>> Chooser::below(llvm::ArrayRef<double> bars) {
  std::optional<std::vector<unsigned>> best;
  uint64_t fewest = 0;
  auto reached = [&](llvm::ArrayRef<double> noise) {
    // Sums of many terms, some of them taken away again, are exact to about this part.
    for (size_t i = 0; i < outputs_; ++i)
      if (noise[i] > bars[i] * (1 + 1e-9))
        return false;
    return true;
  };
  reweigh(bars, [&](llvm::ArrayRef<Step> steps) {
    std::vector<unsigned> chosen = smallest_;
    std::vector<double> noise = start();
    uint64_t bytes = bytes_;
    size_t taken = 0;
    for (; taken < steps.size() && !reached(noise); ++taken) {
      const Step &step = steps[taken];
      chosen[step.weight] = step.to;
      bytes += step.bytes;
      for (size_t i = 0; i < outputs_; ++i)
        noise[i] -= gainOf(step, i);
    }
    // What went beyond the bars may leave room for some of the steps before.
    for (size_t at = taken; at-- > 0;) {
      const Step &step = steps[at];
      if (chosen[step.weight] != step.to)
        continue;
      std::vector<double> more = noise;
      for (size_t i = 0; i < outputs_; ++i)
        more[i] += gainOf(step, i);
      if (!reached(more))
        continue;
      chosen[step.weight] = step.from;
      bytes -= step.bytes;
      noise = std::move(more);
    }
    noise = noiseOf(problem_, chosen);
    if (reached(noise) && (!best || bytes < fewest)) {
      best = chosen;
      fewest = bytes;
    }
    return noise;
  });
  return best;
}

} // namespace

std::optional<std::vector<unsigned>> leastNoise(const FormProblem &problem, uint64_t bytes) {
  return Chooser(problem).within(bytes);
}

std::optional<std::vector<unsigned>> fewestBytes(const FormProblem &problem,
                                                 llvm::ArrayRef<double> bars) {
  return Chooser(problem).below(bars);
}

std::vector<double> noiseOf(const FormProblem &problem, llvm::ArrayRef<unsigned> chosen) {
  std::vector<double> noise(problem.sensitivity.empty() ? 0 : problem.sensitivity.front().size());
  for (size_t weight = 0; weight < chosen.size(); ++weight)
    for (size_t i = 0; i < noise.size(); ++i)
      noise[i] += problem.forms[weight][chosen[weight]].error * problem.sensitivity[weight][i];
  return noise;
}

} // namespace plait::compress
