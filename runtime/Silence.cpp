// LibTorch says to the standard error what it thinks of calls and of the machine. What matters of
// it comes as an error too.
#include "runtime/Silence.h"

#include <c10/util/Exception.h>
#include <c10/util/Logging.h>

namespace plait::runtime {

namespace {
class Silence : public c10::WarningHandler {
  void process(const c10::Warning &) override {}
};
} // namespace

void silenceLibTorch() {
  static Silence silence;
  c10::WarningUtils::set_warning_handler(&silence);
  FLAGS_caffe2_log_level = c10::GLOG_FATAL;
}

} // namespace plait::runtime
