// Tables and scales of what shares them, and the integers that follow: the work of one thread.
#pragma once

#include "compress/Histogram.h"
#include "compress/Linear.h"
#include "compress/Pieces.h"

namespace plait::compress {

/// The parameters of one cell: a table, or a scale and a zero point.
struct CellParameters {
  std::vector<float> table; ///< what each index stands for
  std::vector<int8_t> tableIntegers;
  LinearFit fit; ///< of the numbers, or of the table
};

/// Those of many cells, in order, packed: blocks are small.
struct AllParameters {
  std::vector<float> tables, scales;
  std::vector<int8_t> tableIntegers;
  std::vector<uint8_t> zeroPoints;

  void add(const CellParameters &cell);
  void add(const AllParameters &more);
  void clear();
  /// Cell `i` of this is cell `order[i]` of what it was.
  void reorder(llvm::ArrayRef<size_t> order);
};

/// What compression did to some numbers, summed in their order.
struct Loss {
  double power = 0, error = 0, largest = 0;
  double heavyPower = 0, heavyError = 0; ///< by importance
  bool finite = true;

  void add(float value, float stored, float importance = 1) {
    double off = double(value) - double(stored), square = double(value) * double(value);
    power += square;
    error += off * off;
    heavyPower += square * double(importance);
    heavyError += off * off * double(importance);
    largest = std::max(largest, std::abs(off));
  }
  /// Many at once; `importance` is empty where all weigh 1.
  void add(llvm::ArrayRef<float> values, llvm::ArrayRef<float> stored,
           llvm::ArrayRef<float> importance);
  void add(const Loss &other) {
    power += other.power;
    error += other.error;
    heavyPower += other.heavyPower;
    heavyError += other.heavyError;
    largest = std::max(largest, other.largest);
    finite &= other.finite;
  }
};

LinearRange rangeOf(const Scheme::Linear &linear, bool halves);

/// The memory of one thread; every call starts anew.
class UnitWorker {
public:
  /// `scale` brings fp32 numbers into the range of bins (Histogram::scaleFor).
  UnitWorker(const Scheme &scheme, bool halves, double scale);

  /// Numbers of one cell; keep[i] is 0 for those that are pruned, and `keep` empty where none is.
  /// `importance` says how much a squared error weighs; empty: all weigh 1.
  struct Numbers {
    llvm::ArrayRef<float> values;
    llvm::ArrayRef<uint16_t> halves;
    llvm::ArrayRef<uint8_t> keep;
    llvm::ArrayRef<float> importance;
    float *stored; ///< takes what is stored of each

    float importanceOf(size_t i) const { return importance.empty() ? 1 : importance[i]; }
    Numbers slice(size_t begin, size_t size) const;
  };
  /// Chooses the parameters for the numbers, and gives integers and what they stand for.
  CellParameters choose(const Numbers &numbers, double &price, uint8_t *codes);
  /// The same for all numbers that were counted.
  CellParameters choose(const Histogram &counted, double &price);
  /// Integers of some numbers by parameters that are chosen.
  void apply(const Numbers &numbers, const CellParameters &parameters, uint8_t *codes);
  void count(const Numbers &numbers, Histogram &to);
  /// The integer of a number by parameters that are chosen, and what it stands for.
  std::pair<uint8_t, float> nearest(float value, const CellParameters &parameters);

private:
  void bins(const Numbers &numbers);
  void quantizeTable(CellParameters &parameters);
  void applyTable(const Numbers &numbers, llvm::ArrayRef<float> table, uint8_t *codes);
  void applyLinear(const Numbers &numbers, const LinearFit &fit, uint8_t *codes);
  void prune(const Numbers &numbers, uint8_t *codes);

  const Scheme &scheme_;
  bool halves_;
  double scale_;
  LinearFitter fitter_;
  Histogram histogram_;
  std::vector<WeightedValue> points_;
  std::vector<uint16_t> bins_;
  std::vector<uint8_t> codeOfBin_;
  std::vector<uint32_t> counts_; ///< what each of bins_ counts for
  std::vector<float> kept_, keptImportance_, weights_, stored_;
};

} // namespace plait::compress
