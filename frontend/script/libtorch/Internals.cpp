// The switch that tests have.
#include "frontend/script/libtorch/Internals.h"

#include <atomic>

namespace plait::libtorch {

static std::atomic<bool> switchedOff = false;

const Internals *internals() { return switchedOff ? nullptr : builtInInternals(); }

WithoutInternals::WithoutInternals() { switchedOff = true; }
WithoutInternals::~WithoutInternals() { switchedOff = false; }

} // namespace plait::libtorch
