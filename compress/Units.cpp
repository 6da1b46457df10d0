// Palettes by histograms, integers by fits.
#include "compress/Units.h"

#include "compress/Wide.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

namespace plait::compress {

/// Where all weigh 1.
static Loss lossOf(llvm::ArrayRef<float> values, llvm::ArrayRef<float> stored) {
  constexpr size_t lanes = 32; // more than compilers unroll before they look for vectors
  double powers[lanes] = {}, errors[lanes] = {}, most[lanes] = {};
  size_t i = 0;
  for (; i + lanes <= values.size(); i += lanes)
    for (size_t lane = 0; lane < lanes; ++lane) {
      double value = double(values[i + lane]), off = value - double(stored[i + lane]);
      powers[lane] += value * value;
      errors[lane] += off * off;
      off = std::fabs(off);
      most[lane] = off > most[lane] ? off : most[lane];
    }
  Loss sum;
  for (size_t lane = 0; lane < lanes; ++lane) {
    sum.power += powers[lane];
    sum.error += errors[lane];
    sum.largest = std::max(sum.largest, most[lane]);
  }
  sum.heavyPower = sum.power;
  sum.heavyError = sum.error;
  for (; i < values.size(); ++i)
    sum.add(values[i], stored[i]);
  return sum;
}

void Loss::add(llvm::ArrayRef<float> values, llvm::ArrayRef<float> stored,
               llvm::ArrayRef<float> importance) {
  if (!importance.empty()) {
    for (size_t i = 0; i < values.size(); ++i)
      add(values[i], stored[i], importance[i]);
    return;
  }
  add(wide([&]() PLAIT_WIDE { return lossOf(values, stored); }));
}

void AllParameters::add(const CellParameters &cell) {
  llvm::append_range(tables, cell.table);
  llvm::append_range(tableIntegers, cell.tableIntegers);
  scales.push_back(cell.fit.scale);
  zeroPoints.push_back(uint8_t(cell.fit.zeroPoint));
}

void AllParameters::add(const AllParameters &more) {
  llvm::append_range(tables, more.tables);
  llvm::append_range(tableIntegers, more.tableIntegers);
  llvm::append_range(scales, more.scales);
  llvm::append_range(zeroPoints, more.zeroPoints);
}

void AllParameters::clear() { *this = AllParameters(); }

void AllParameters::reorder(llvm::ArrayRef<size_t> order) {
  auto apply = [&](auto &from) {
    size_t each = from.size() / order.size();
    auto to = from;
    for (size_t i = 0; i < order.size(); ++i)
      std::copy_n(from.begin() + order[i] * each, each, to.begin() + i * each);
    from = std::move(to);
  };
  apply(tables);
  apply(tableIntegers);
  apply(scales);
  apply(zeroPoints);
}

LinearRange rangeOf(const Scheme::Linear &linear, bool halves) {
  int levels = 1 << linear.bits;
  return linear.hasZeroPoint ? LinearRange{0, levels - 1, true, halves}
                             : LinearRange{-levels / 2, levels / 2 - 1, false, halves};
}

/// Tables of int8 have no zero point either; -128 stays out of them, as others read them.
static LinearRange fitterRange(const Scheme &scheme, bool halves) {
  return scheme.linear ? rangeOf(*scheme.linear, halves) : LinearRange{-127, 127, false, halves};
}

UnitWorker::UnitWorker(const Scheme &scheme, bool halves, double scale)
    : scheme_(scheme), halves_(halves), scale_(scale), fitter_(fitterRange(scheme, halves)),
      codeOfBin_(Histogram::kBins) {}

UnitWorker::Numbers UnitWorker::Numbers::slice(size_t begin, size_t size) const {
  auto cut = [&](auto array) { return array.empty() ? array : array.slice(begin, size); };
  return {cut(values), cut(halves), cut(keep), cut(importance), stored + begin};
}

void UnitWorker::bins(const Numbers &numbers) {
  bins_.resize(numbers.values.size());
  if (halves_)
    binsOfHalves(numbers.halves, bins_.data());
  else
    binsOfFloats(numbers.values, scale_, bins_.data());
}

/// Importance as a whole number, so that sums do not depend on their order: 1024 for the mean.
/// Sums of 2^32 numbers fit.
static uint32_t countOf(float importance) {
  return uint32_t(std::clamp(importance * 1024.0F, 1.0F, 0x1p30F));
}

void UnitWorker::count(const Numbers &numbers, Histogram &to) {
  bins(numbers);
  counts_.clear();
  for (float importance : numbers.importance)
    counts_.push_back(countOf(importance));
  if (!numbers.keep.empty()) {
    size_t kept = 0;
    for (size_t i = 0; i < bins_.size(); ++i)
      if (numbers.keep[i]) {
        bins_[kept] = bins_[i];
        if (!counts_.empty())
          counts_[kept] = counts_[i];
        ++kept;
      }
    bins_.resize(kept);
    counts_.resize(counts_.empty() ? 0 : kept);
  }
  to.add(bins_, counts_);
}

/// How much weighs on each entry: the points between the middles beside it.
static void weigh(llvm::ArrayRef<WeightedValue> points, llvm::ArrayRef<float> table,
                  std::vector<float> &out) {
  out.assign(table.size(), 0);
  size_t code = 0;
  for (const WeightedValue &point : points) {
    while (code + 1 < table.size() &&
           std::fabs(table[code + 1] - point.value) < std::fabs(table[code] - point.value))
      ++code;
    out[code] += float(point.weight);
  }
}

void UnitWorker::quantizeTable(CellParameters &parameters) {
  weigh(points_, parameters.table, weights_);
  parameters.fit = fitter_.fit(parameters.table, weights_);
  parameters.tableIntegers.resize(parameters.table.size());
  stored_.resize(parameters.table.size());
  fitter_.quantize(parameters.table, parameters.fit, parameters.tableIntegers.data(),
                   stored_.data());
  parameters.table = stored_;
}

CellParameters UnitWorker::choose(const Histogram &counted, double &price) {
  CellParameters parameters;
  counted.points(points_, scale_);
  if (points_.empty()) // all are pruned
    points_.push_back({0, 1});
  if (scheme_.palette) {
    parameters.table = optimalPalette(points_, 1u << scheme_.palette->bits, halves_, &price);
    if (scheme_.palette->tableInt8)
      quantizeTable(parameters);
    return parameters;
  }
  kept_.clear();
  weights_.clear();
  for (const WeightedValue &point : points_) {
    kept_.push_back(float(point.value));
    weights_.push_back(float(point.weight));
  }
  parameters.fit = fitter_.fit(kept_, weights_);
  return parameters;
}

CellParameters UnitWorker::choose(const Numbers &numbers, double &price, uint8_t *codes) {
  CellParameters parameters;
  if (scheme_.palette) {
    histogram_.clear();
    count(numbers, histogram_);
    parameters = choose(histogram_, price);
    applyTable(numbers, parameters.table, codes);
    return parameters;
  }
  llvm::ArrayRef<float> values = numbers.values, importance = numbers.importance;
  if (!numbers.keep.empty()) {
    kept_.clear();
    keptImportance_.clear();
    for (size_t i = 0; i < values.size(); ++i)
      if (numbers.keep[i]) {
        kept_.push_back(values[i]);
        keptImportance_.push_back(numbers.importanceOf(i));
      }
    values = kept_;
    importance = importance.empty() ? importance : llvm::ArrayRef(keptImportance_);
  }
  parameters.fit = fitter_.fit(values, importance);
  applyLinear(numbers, parameters.fit, codes);
  return parameters;
}

void UnitWorker::apply(const Numbers &numbers, const CellParameters &parameters, uint8_t *codes) {
  if (!scheme_.palette)
    return applyLinear(numbers, parameters.fit, codes);
  histogram_.clear();
  count(numbers, histogram_);
  applyTable(numbers, parameters.table, codes);
}

/// After count(): histogram_ has the numbers' bins.
void UnitWorker::applyTable(const Numbers &numbers, llvm::ArrayRef<float> table, uint8_t *codes) {
  histogram_.assign(table, scale_, codeOfBin_.data());
  bins(numbers);
  for (size_t i = 0; i < bins_.size(); ++i) {
    uint8_t code = codeOfBin_[bins_[i]];
    if (!halves_) { // the bin holds numbers on either side of a middle
      auto off = [&](size_t at) {
        return std::fabs(double(table[at]) - double(numbers.values[i]));
      };
      if (code + 1u < table.size() && off(code + 1) < off(code))
        ++code;
      else if (code > 0 && off(code - 1) < off(code))
        --code;
    }
    codes[i] = code;
    numbers.stored[i] = table[code];
  }
  prune(numbers, codes);
}

void UnitWorker::applyLinear(const Numbers &numbers, const LinearFit &fit, uint8_t *codes) {
  fitter_.quantize(numbers.values, fit, reinterpret_cast<int8_t *>(codes), numbers.stored);
  prune(numbers, codes);
}

/// Takes away what is pruned.
void UnitWorker::prune(const Numbers &numbers, uint8_t *codes) {
  for (size_t i = 0; i < numbers.keep.size(); ++i)
    if (!numbers.keep[i]) {
      codes[i] = 0;
      numbers.stored[i] = 0;
    }
}

std::pair<uint8_t, float> UnitWorker::nearest(float value, const CellParameters &parameters) {
  if (!scheme_.palette) {
    auto [integer, stored] = fitter_.nearestTo(value, parameters.fit);
    return {uint8_t(integer), stored};
  }
  llvm::ArrayRef<float> table = parameters.table;
  size_t above = size_t(llvm::lower_bound(table, value) - table.begin());
  size_t code = above == table.size()                                           ? above - 1
                : above == 0 || table[above] - value < value - table[above - 1] ? above
                                                                                : above - 1;
  return {uint8_t(code), table[code]};
}

} // namespace plait::compress
