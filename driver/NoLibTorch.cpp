// In a build without LibTorch (the presets asan and fuzz) there is nothing to load: commands that
// need it say so, and all the others work.
#include "driver/LibTorch.h"

namespace plait::driver {

Expected<const LibTorchPart *> libTorch() {
  return makeError(Code::LibTorchMissing, "this plait was built without LibTorch");
}

} // namespace plait::driver
