// The table of what internal/ has.
#include "frontend/script/libtorch/internal/DebugRanges.h"
#include "frontend/script/libtorch/internal/MappedArchive.h"
#include "frontend/script/libtorch/internal/Trace.h"

namespace plait::libtorch {

const Internals *builtInInternals() {
  static const Internals table = {maxArchiveVersion(), loadMappedModule, recordTrace, locateRange};
  return &table;
}

} // namespace plait::libtorch
