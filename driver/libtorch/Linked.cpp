// For programs that are linked to LibTorch themselves.
#include "driver/libtorch/Part.h"

namespace plait::driver {

Expected<const LibTorchPart *> libTorch() { return plaitLibTorchPart(); }

} // namespace plait::driver
