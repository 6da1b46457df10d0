// The table of what needs LibTorch.
#include "driver/libtorch/Part.h"

#include "frontend/Frontend.h"
#include "runtime/RuntimeEvaluator.h"

#include <c10/util/Exception.h>
#include <c10/util/Logging.h>

namespace plait::driver {

/// LibTorch says to the standard error what it thinks of calls and of the machine. That is none of
/// the command's messages: what matters comes as an error.
class Silence : public c10::WarningHandler {
  void process(const c10::Warning &) override {}
};

static void silenceLibTorch() {
  static Silence silence;
  c10::WarningUtils::set_warning_handler(&silence);
  FLAGS_caffe2_log_level = c10::GLOG_FATAL;
}

extern "C" const LibTorchPart *plaitLibTorchPart() {
  silenceLibTorch();
  static runtime::RuntimeEvaluator evaluator;
  static const LibTorchPart part = {
      PLAIT_VERSION,         compile,   verify, runtime::describe, runtime::Runner::create,
      frontend::readTensors, &evaluator};
  return &part;
}

} // namespace plait::driver
