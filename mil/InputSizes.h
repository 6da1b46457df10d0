// What the sizes of a function's inputs have in common. A symbol that several dimensions have is
// one size; it may stand alone (n) or in an expression (2*n + 1).
//
//   x: tensor<fp32, [n, 4]>      y: tensor<fp32, [2*n + 1]>
#pragma once

#include "mil/Builder.h"
#include "support/Error.h"

#include <map>
#include <optional>

namespace plait::mil {

/// A size that is factor * symbol + offset, with factor >= 1.
struct LinearSize {
  std::string symbol;
  int64_t factor = 1, offset = 0;

  bool isBare() const { return factor == 1 && offset == 0; }
  /// The symbol's value where the size is this; nullopt where no number makes it so.
  std::optional<int64_t> solve(int64_t size) const;
  /// The least and the largest symbol with lower <= size <= upper; nullopt where there is none.
  /// INT64_MAX as upper: no bound.
  std::optional<std::pair<int64_t, int64_t>> solve(int64_t lower, int64_t upper) const;
};

/// nullopt of a constant and of any other expression.
std::optional<LinearSize> linearSize(const Dim &dim);

/// The dimension of an input that a symbol is read off.
struct SizeSource {
  Value *input;
  unsigned axis;
  LinearSize form;
};

/// A dimension that is the symbol, or else the first one from which it follows; nullopt where no
/// input has either.
std::optional<SizeSource> sourceOfSize(const Function &function, llvm::StringRef symbol);

/// The source's symbol as an int32 scalar.
Value *sizeFrom(Builder &builder, const SizeSource &source);

/// The shapes of the function's inputs where each symbol has the value that `choose` takes between
/// its least and its largest one (INT64_MAX: no bound). States have theirs.
std::vector<llvm::SmallVector<int64_t, 5>>
inputShapes(const Function &function,
            llvm::function_ref<int64_t(int64_t lower, int64_t upper)> choose);

/// An error that names the inputs and sizes where shapes of the inputs contradict each other: a
/// symbol would have two values, or none. Inputs that are not in `shapes` are not looked at; the
/// others have the rank that the function says.
Error checkInputSizes(const Function &function,
                      const std::map<const Value *, llvm::SmallVector<int64_t, 5>> &shapes);

} // namespace plait::mil
