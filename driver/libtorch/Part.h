// The table of what needs LibTorch, as the shared object shows it.
#pragma once

#include "driver/LibTorch.h"

namespace plait::driver {

extern "C" const LibTorchPart *plaitLibTorchPart();

} // namespace plait::driver
