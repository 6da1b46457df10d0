// Arithmetic of Python numbers that only exist at run time (`x.item()`, a loop's counter, a length
// that a tensor decides): rank-0 MIL values, int32, fp32 or bool.
#pragma once

#include "frontend/engine/Val.h"

#include <ATen/core/function_schema.h>

namespace plait::frontend {

class Engine;

/// The result of an operation on Python numbers of which at least one is not known while compiling,
/// as TorchScript's interpreter computes it; nullopt where there is no such operation here. Floats
/// are fp32, where TorchScript has doubles.
std::optional<Val> numberOperation(Engine &engine, const c10::FunctionSchema &schema,
                                   llvm::ArrayRef<Val> arguments);

} // namespace plait::frontend
