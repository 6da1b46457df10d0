// What the code of a TorchScript module computes with its weight.
#pragma once

#include "mil/ModuleTree.h"

#include <ATen/core/ivalue.h>

namespace plait::frontend {

/// Found in the code of forward and of what that calls of the module's own methods and functions.
mil::Layer findLayer(const c10::ivalue::Object &module);

} // namespace plait::frontend
