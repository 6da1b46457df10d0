// The switch that tests have, and how operations of traces are counted.
#include "frontend/script/libtorch/Internals.h"

#include <atomic>

namespace plait::libtorch {

static std::atomic<bool> switchedOff = false;

const Internals *internals() { return switchedOff ? nullptr : builtInInternals(); }

WithoutInternals::WithoutInternals() { switchedOff = true; }
WithoutInternals::~WithoutInternals() { switchedOff = false; }

bool isOperation(const torch::jit::Node &node) {
  return node.kind() != c10::prim::Constant && node.kind() != c10::prim::GetAttr &&
         node.kind() != c10::prim::TracedAttr && node.kind() != c10::prim::Param;
}

} // namespace plait::libtorch
