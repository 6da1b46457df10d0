// What an exported program says of its inputs, and what the user declares beside it.
#pragma once

#include "frontend/exported/ExportedModel.h"

#include <ATen/core/jit_type.h>

namespace plait::frontend {

/// What is declared, with a declaration for each tensor and number that the program takes, in its
/// order; those that are not declared have the sizes and ranges that it was exported with. Names
/// are the program's (pair_0, batch_image): what is called so is that input, the others are taken
/// in order. An error where the program leaves a size without a bound, or was exported for
/// something else than what is declared.
Expected<ModelFunction> completedInterface(const ExportedModel &model,
                                           const ModelFunction &declared);

/// Of an input that is a number which varies.
c10::TypePtr numberType(const exported::Argument &argument);

} // namespace plait::frontend
