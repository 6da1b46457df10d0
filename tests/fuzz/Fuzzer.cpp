// The entry point that libFuzzer calls, of the harness named by PLAIT_HARNESS.
#include "tests/fuzz/Harness.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  plait::fuzz::PLAIT_HARNESS({data, size});
  return 0;
}
