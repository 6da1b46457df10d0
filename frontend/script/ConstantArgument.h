// Constants of the user's as values of an argument's type.
#pragma once

#include "frontend/Frontend.h"

#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

namespace plait::frontend {

/// None for what is optional; a number for int, float, bool and Scalar; a text for str; lists of
/// these. A tensor becomes what torch.tensor() makes of the constant. nullopt where the type takes
/// no such value.
std::optional<c10::IValue> valueOf(const Constant &constant, const c10::TypePtr &type);

} // namespace plait::frontend
