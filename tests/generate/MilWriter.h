// Random well-formed MIL, for tests of passes. A function follows from its seed alone.
//
// Operations are chosen so that passes find what they look for: chains of transposes, reshapes and
// casts, constants beside factors, the pieces of gelu and layer_norm, batch norm behind a
// convolution, low-rank branches beside a layer, layers of one input whose results become heads,
// the same operation twice.
//
// Inputs and constants are eighths. What is computed of them exactly is told from what is rounded:
// only the former is compared, floored or ordered, since a pass may change the last bit.
#pragma once

#include "mil/Builder.h"

#include "llvm/ADT/DenseSet.h"

#include <random>

namespace plait::generate {

class MilWriter {
public:
  explicit MilWriter(unsigned seed) : random_(seed) {}

  /// Adds `main`, of about `count` operations.
  mil::Function *write(mil::Program &program, unsigned count);
  /// Values that the function can return, in the order they were made.
  const std::vector<mil::Value *> &values() const { return values_; }
  /// Whether a small change of the inputs is a small change of every value.
  bool isSmooth() const { return smooth_; }

  /// An input of a function: eighths, 0 to 3, or bools. Symbols have the size `symbol`.
  static mil::TensorData input(const mil::Type &type, int64_t symbol, std::mt19937 &random);

private:
  using Made = mil::Value *; ///< null where there is nothing to work on

  size_t below(size_t limit) { return random_() % limit; }
  bool chance(unsigned percent) { return below(100) < percent; }
  template <typename T> T oneOf(std::initializer_list<T> list) {
    return *(list.begin() + ptrdiff_t(below(list.size())));
  }

  mil::Value *pick(llvm::function_ref<bool(const mil::Value &)> wanted);
  mil::Value *pickFloat(unsigned leastRank = 0, bool exact = false);
  mil::TensorData numbers(llvm::ArrayRef<int64_t> shape);
  mil::Value *numbersValue(llvm::ArrayRef<int64_t> shape) {
    return builder_->constant(numbers(shape));
  }
  /// A constant that broadcasts to a value.
  mil::Value *constantFor(const mil::Value &value);
  int64_t axisOf(const mil::Value &value) { return int64_t(below(value.type.rank())); }

  Made elementwise();
  Made binary();
  Made again();
  Made order();
  Made reshaping();
  Made slicing();
  Made joining();
  Made casts();
  Made reduction();
  Made product();
  Made layer();
  Made lowRank();
  Made heads();
  Made convolution();
  Made pieces();
  Made comparing();
  Made branch();
  void keep(mil::Value *value, bool exact);

  std::mt19937 random_;
  std::optional<mil::Builder> builder_;
  std::vector<mil::Value *> pool_, values_;
  llvm::DenseSet<const mil::Value *> rounded_;
  bool exact_ = true; ///< of what is made now
  bool smooth_ = true;
};

} // namespace plait::generate
