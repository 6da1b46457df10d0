// The table of what needs LibTorch.
#include "driver/libtorch/Part.h"

#include "frontend/Frontend.h"
#include "runtime/RuntimeEvaluator.h"
#include "runtime/Silence.h"

namespace plait::driver {

extern "C" const LibTorchPart *plaitLibTorchPart() {
  runtime::silenceLibTorch();
  static runtime::RuntimeEvaluator evaluator;
  static const LibTorchPart part = {PLAIT_VERSION,           compile,   verify, runtime::describe,
                                    runtime::Runner::create, &evaluator};
  return &part;
}

} // namespace plait::driver
