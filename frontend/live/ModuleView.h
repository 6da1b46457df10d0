// A torch::jit::Module of this process, seen as the engine wants it: in evaluation mode, its
// tensors on the host. The module itself is not touched.
//
// Objects (modules and instances of TorchScript classes) are copied one level deep, as often as the
// original shares them; code is shared with the original, and so are all tensors of the host:
// weights stay where they are. In the copies `training` is false, and tensors of other devices are
// replaced by mapped copies (HostTensors.h).
#pragma once

#include "frontend/live/HostTensors.h"

#include <torch/csrc/jit/api/module.h>

namespace plait::frontend {

/// `host` must outlive what is lowered from the view.
Expected<torch::jit::Module> viewOnHost(const torch::jit::Module &module, HostTensors &host);

} // namespace plait::frontend
