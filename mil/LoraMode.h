// What becomes of low-rank adapters: one choice, as the user, the adapters and the passes have it.
#pragma once

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringRef.h"

#include <array>
#include <cstdint>
#include <optional>

namespace plait::mil {

/// What becomes of W x + s B (A x), and of adapters of other kinds.
enum class LoraMode : uint8_t {
  Keep,  ///< the branch stays beside W, which functions share
  Fold,  ///< the branch is merged into a W of the function's own
  Inputs ///< as Keep; the matrices of the function's adapters are inputs of the function
};

/// As options and recipes spell them.
inline constexpr std::array<const char *, 3> kLoraModes = {"keep", "fold", "inputs"};

inline std::optional<LoraMode> parseLoraMode(llvm::StringRef text) {
  for (auto [index, word] : llvm::enumerate(kLoraModes))
    if (text == word)
      return LoraMode(index);
  return std::nullopt;
}

} // namespace plait::mil
