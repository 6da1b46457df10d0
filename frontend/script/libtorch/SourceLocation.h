// Where in the user's Python a graph node came from, for diagnostics. internal/DebugRanges has it
// from LibTorch's ranges; without that it is read off what LibTorch prints of them.
#pragma once

#include "frontend/script/NodeLocation.h"

#include "llvm/ADT/StringRef.h"

#include <optional>
#include <string>

namespace torch::jit {
struct SourceRange;
}

namespace plait::libtorch {

struct SourceLocation {
  std::string
      file; ///< As recorded where the model was saved; code/….py when nothing else is known.
  size_t line = 0;
  std::string function; ///< Empty when unknown.
  std::string text;     ///< The line itself, trimmed; empty when unknown (traced models).

  /// `model.py:12 in forward: y = self.linear(x)`, as far as known.
  std::string str() const;
};

/// The frame to show of a Python stack, innermost first, one "FILE(LINE): FUNCTION" a line: the
/// innermost outside of the torch package. Nothing if `text` is no stack.
std::optional<SourceLocation> parseStack(llvm::StringRef text);

/// The place in what SourceRange::str() prints:
///
///     File "model.py", line 12
///       y = self.linear(x)
///           ~~~~~~~~~~~ <--- HERE
///
/// or a stack.
std::optional<SourceLocation> parsePrintedRange(llvm::StringRef text);

/// The place of a range, as far as known.
std::optional<SourceLocation> locate(const torch::jit::SourceRange &range);

} // namespace plait::libtorch
