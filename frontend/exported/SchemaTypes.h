// What the numbers of the archive's enumerations are in LibTorch, whose own numbers differ.
#pragma once

#include <c10/core/MemoryFormat.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>

namespace plait::frontend {

/// nullopt for what LibTorch has no such type of.
std::optional<at::ScalarType> exportedScalarType(int64_t number);
std::optional<at::MemoryFormat> exportedMemoryFormat(int64_t number);

} // namespace plait::frontend
