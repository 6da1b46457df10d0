// Following random numbers through a function, and the test of two samples.
#include "runtime/Randomness.h"

#include "runtime/Interpreter.h"

#include <bit>
#include <cmath>
#include <random>

namespace plait::runtime {

using mil::Block;
using mil::Op;
using mil::OpKind;
using mil::TensorData;
using mil::Value;

bool isRandom(const Op &op) {
  return op.is(OpKind::random_bernoulli) || op.is(OpKind::random_categorical) ||
         op.is(OpKind::random_normal) || op.is(OpKind::random_uniform);
}

std::vector<std::string> randomOperations(const mil::Function &function) {
  std::vector<std::string> found;
  mil::walk(const_cast<Block &>(function.body()), [&](Op &op) {
    if (isRandom(op))
      found.push_back(describe(op));
  });
  return found;
}

namespace {

/// What depends on random numbers, to a fixed point: a loop hands on what it computed last.
class Dependence {
public:
  explicit Dependence(const mil::Function &function) {
    size_t before;
    do {
      before = found.size();
      visit(function.body());
    } while (found.size() != before);
  }

  llvm::DenseSet<const Value *> found; ///< states too

private:
  /// Whether anything in the block is random or depends on what is.
  bool visit(const Block &block) {
    bool any = false;
    for (const Op &op : block) {
      bool random = isRandom(op);
      for (const mil::Operand &operand : op.operands())
        random |= found.contains(operand.get());
      for (const auto &nested : op.blocks())
        random |= visit(*nested);
      if (!random)
        continue;
      any = true;
      if (op.is(OpKind::write_state))
        found.insert(op[mil::write_state::input]);
      for (const auto &result : op.results())
        found.insert(result.get());
      for (const auto &nested : op.blocks())
        for (const auto &argument : nested->args())
          found.insert(argument.get());
    }
    return any;
  }
};

/// Elements that are looked at one by one, and sums with drawn signs.
constexpr int64_t kElements = 48;
constexpr unsigned kSums = 8;
constexpr double kQuantiles[] = {0.05, 0.25, 0.5, 0.75, 0.95};

std::vector<std::string> statisticNames(int64_t elements) {
  std::vector<std::string> names{"the mean", "the root mean square"};
  for (double quantile : kQuantiles)
    names.push_back(fmt::format("the {0:g} % quantile", quantile * 100));
  for (unsigned sum = 0; sum < kSums; ++sum)
    names.push_back("a sum with drawn signs");
  for (int64_t i = 0, count = std::min(elements, kElements); i < count; ++i)
    names.push_back(fmt::format("element {0}", i * elements / count));
  return names;
}

/// Of one draw, in the order of the names. All are in the units of the output: where every element
/// moves by less than a number, so does every statistic.
std::vector<double> statisticsOf(std::vector<double> values) {
  double sum = 0, squares = 0, n = double(values.size());
  double signedSums[kSums] = {};
  std::minstd_rand signs(1);
  for (double value : values) {
    sum += value;
    squares += value * value;
    uint32_t bits = uint32_t(signs());
    for (unsigned i = 0; i < kSums; ++i)
      signedSums[i] += (bits >> (8 + i)) & 1 ? value : -value;
  }
  std::vector<double> found{sum / n, std::sqrt(squares / n)};
  std::vector<double> elements;
  for (int64_t i = 0, count = std::min(int64_t(values.size()), kElements); i < count; ++i)
    elements.push_back(values[size_t(i * int64_t(values.size()) / count)]);
  llvm::sort(values);
  for (double quantile : kQuantiles)
    found.push_back(values[size_t(quantile * (n - 1) + 0.5)]);
  for (double total : signedSums)
    found.push_back(total / n);
  found.insert(found.end(), elements.begin(), elements.end());
  return found;
}

/// The largest amount by which more of `low` than of `high` lies at or below some number, when
/// `high` is moved down by `tolerance`; both are ascending.
double excess(llvm::ArrayRef<double> low, llvm::ArrayRef<double> high, double tolerance) {
  double largest = 0;
  size_t below = 0;
  for (size_t i = 0; i < low.size(); ++i) {
    while (below < high.size() && high[below] - tolerance <= low[i])
      ++below;
    largest =
        std::max(largest, double(i + 1) / double(low.size()) - double(below) / double(high.size()));
  }
  return largest;
}

double average(llvm::ArrayRef<double> values) {
  double sum = 0;
  for (double value : values)
    sum += value;
  return sum / double(values.size());
}

} // namespace

llvm::StringSet<> randomResults(const mil::Function &function) {
  llvm::StringSet<> names;
  Dependence dependence(function);
  for (const mil::Operand &output : function.outputs())
    if (dependence.found.contains(output.get()))
      names.insert(output->name.str());
  for (const auto &input : function.inputs())
    if (dependence.found.contains(input.get()))
      names.insert(input->name.str());
  return names;
}

Error TwoSamples::add(const TensorData &ours, const TensorData &theirs) {
  auto a = ours.floatValues(), b = theirs.floatValues();
  if (!a || !b)
    return joinErrors(a.takeError(), b.takeError());
  if (elements_ < 0) {
    elements_ = int64_t(a->size());
    names_ = statisticNames(elements_);
    ours_.resize(names_.size());
    theirs_.resize(names_.size());
  }
  if (int64_t(a->size()) != elements_ || a->size() != b->size())
    return makeError(Code::NotComparable,
                     "it has {0} elements in one draw, {1} in another, and {2} in the model: "
                     "distributions are compared of outputs of one size",
                     elements_, a->size(), b->size());
  if (elements_ == 0)
    return Error::success();
  for (auto [samples, values] : {std::pair(&ours_, &*a), std::pair(&theirs_, &*b)})
    for (auto [sample, statistic] : llvm::zip_equal(*samples, statisticsOf(std::move(*values))))
      sample.push_back(statistic);
  return Error::success();
}

DistributionReport TwoSamples::compare(double tolerance) const {
  DistributionReport report;
  for (auto [name, ours, theirs] : llvm::zip_equal(names_, ours_, theirs_)) {
    std::vector<double> a = ours, b = theirs;
    // NaN would have no order; a function that gives it where the model does is not told apart.
    for (std::vector<double> *sample : {&a, &b})
      for (double &value : *sample)
        value = std::isnan(value) ? INFINITY : value;
    llvm::sort(a);
    llvm::sort(b);
    if (a.empty())
      continue;
    double distance = std::max(excess(a, b, tolerance), excess(b, a, tolerance));
    if (distance < report.distance || (distance == report.distance && !report.statistic.empty()))
      continue;
    report.statistic = name;
    report.distance = distance;
    report.ours = average(ours);
    report.theirs = average(theirs);
    report.allowed =
        std::sqrt(std::log(2 * double(names_.size()) / kSignificance) / double(a.size()));
  }
  return report;
}

} // namespace plait::runtime
