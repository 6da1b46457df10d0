// What an argument of a model is in every call, in place of an input. No LibTorch type appears
// here.
//
//   constant := scalar | '[' (scalar (',' scalar)*)? ']'
//   scalar   := 'none' | 'true' | 'false' | number | '"' text '"'
//   number   := 2 | -1 | 0.5 | 1e-3 | inf | nan             an integer where it is written as one
//
// A text holds no '"' and no line break.
#pragma once

#include "support/Error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace plait::mil {

struct ArgumentConstant {
  /// The first is None.
  using Scalar = std::variant<std::monostate, bool, int64_t, double, std::string>;
  std::vector<Scalar> values; ///< one, where it is no list
  bool isList = false;

  bool isNone() const { return !isList && std::holds_alternative<std::monostate>(values.front()); }
  /// In the spelling above.
  std::string str() const;
  bool operator==(const ArgumentConstant &) const = default;
};

/// nullopt where the text is no constant.
std::optional<ArgumentConstant> parseConstant(llvm::StringRef text);

} // namespace plait::mil
