// Archives that torch.jit.save wrote, unpickled with storages over a mapping in place of copies.
#pragma once

#include "frontend/script/libtorch/Internals.h"

namespace plait::libtorch {

uint64_t maxArchiveVersion();
torch::jit::Module loadMappedModule(const FilePtr &file, const LayoutPtr &layout);

} // namespace plait::libtorch
