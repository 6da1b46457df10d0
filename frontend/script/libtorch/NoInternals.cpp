// In place of internal/ in builds with PLAIT_LIBTORCH_INTERNALS=OFF.
#include "frontend/script/libtorch/Internals.h"

namespace plait::libtorch {

const Internals *builtInInternals() { return nullptr; }

} // namespace plait::libtorch
