// How text is put together: fmt, whose format strings the compiler checks against the arguments,
// with formatters for LLVM's texts.
#pragma once

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringRef.h"
#include <concepts>
#include <fmt/format.h>

// LibTorch has its own copy of fmt's headers. A program of two versions is none that anybody
// tested.
static_assert(FMT_VERSION == PLAIT_FMT_VERSION,
              "another fmt than the one that CMake found comes first on the include path");

/// llvm::StringRef and llvm::StringLiteral.
template <std::derived_from<llvm::StringRef> Text>
struct fmt::formatter<Text> : fmt::formatter<fmt::string_view> {
  template <typename Context> auto format(llvm::StringRef text, Context &context) const {
    return formatter<string_view>::format({text.data(), text.size()}, context);
  }
};

template <unsigned Size>
struct fmt::formatter<llvm::SmallString<Size>> : fmt::formatter<llvm::StringRef> {};
